//! The shapes of the answers to the requests that the broker advertises, which our client reads.
//! A field without a range is in all versions that are handled.

use super::{BOOL, INT8, INT16, INT32, INT64, Message, Type, UUID, field};

pub(super) const PRODUCE: Message = Message::new(
    9,
    &[
        field(
            "responses",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).until(12),
                field("topic_id", UUID).since(13),
                field(
                    "partition_responses",
                    Type::Array(&Type::Struct(&[
                        field("index", INT32),
                        field("error_code", INT16),
                        field("base_offset", INT64),
                        field("log_append_time_ms", INT64),
                        field("log_start_offset", INT64).since(5),
                        field(
                            "record_errors",
                            Type::Array(&Type::Struct(&[
                                field("batch_index", INT32).since(8),
                                field("batch_index_error_message", Type::String).since(8),
                            ])),
                        )
                        .since(8),
                        field("error_message", Type::String).since(8),
                        field(
                            "current_leader",
                            Type::Struct(&[
                                field("leader_id", INT32).since(10),
                                field("leader_epoch", INT32).since(10),
                            ]),
                        )
                        .since(10)
                        .tagged(0),
                    ])),
                ),
            ])),
        ),
        field("throttle_time_ms", INT32),
        field(
            "node_endpoints",
            Type::Array(&Type::Struct(&[
                field("node_id", INT32).since(10),
                field("host", Type::String).since(10),
                field("port", INT32).since(10),
                field("rack", Type::String).since(10),
            ])),
        )
        .since(10)
        .tagged(0),
    ],
);

pub(super) const FETCH: Message = Message::new(
    12,
    &[
        field("throttle_time_ms", INT32),
        field("error_code", INT16).since(7),
        field("session_id", INT32).since(7),
        field(
            "responses",
            Type::Array(&Type::Struct(&[
                field("topic", Type::String).until(12),
                field("topic_id", UUID).since(13),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("error_code", INT16),
                        field("high_watermark", INT64),
                        field("last_stable_offset", INT64),
                        field("log_start_offset", INT64).since(5),
                        field(
                            "diverging_epoch",
                            Type::Struct(&[
                                field("epoch", INT32).since(12),
                                field("end_offset", INT64).since(12),
                            ]),
                        )
                        .since(12)
                        .tagged(0),
                        field(
                            "current_leader",
                            Type::Struct(&[
                                field("leader_id", INT32).since(12),
                                field("leader_epoch", INT32).since(12),
                            ]),
                        )
                        .since(12)
                        .tagged(1),
                        field(
                            "snapshot_id",
                            Type::Struct(&[field("end_offset", INT64), field("epoch", INT32)]),
                        )
                        .since(12)
                        .tagged(2),
                        field(
                            "aborted_transactions",
                            Type::Array(&Type::Struct(&[
                                field("producer_id", INT64),
                                field("first_offset", INT64),
                            ])),
                        ),
                        field("preferred_read_replica", INT32).since(11),
                        field("records", Type::Bytes),
                    ])),
                ),
            ])),
        ),
        field(
            "node_endpoints",
            Type::Array(&Type::Struct(&[
                field("node_id", INT32).since(16),
                field("host", Type::String).since(16),
                field("port", INT32).since(16),
                field("rack", Type::String).since(16),
            ])),
        )
        .since(16)
        .tagged(0),
    ],
);

pub(super) const LIST_OFFSETS: Message = Message::new(
    6,
    &[
        field("throttle_time_ms", INT32).since(2),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("error_code", INT16),
                        field("timestamp", INT64),
                        field("offset", INT64),
                        field("leader_epoch", INT32).since(4),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const METADATA: Message = Message::new(
    9,
    &[
        field("throttle_time_ms", INT32).since(3),
        field(
            "brokers",
            Type::Array(&Type::Struct(&[
                field("node_id", INT32),
                field("host", Type::String),
                field("port", INT32),
                field("rack", Type::String).since(1),
            ])),
        ),
        field("cluster_id", Type::String).since(2),
        field("controller_id", INT32).since(1),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("error_code", INT16),
                field("name", Type::String),
                field("topic_id", UUID).since(10),
                field("is_internal", BOOL).since(1),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("error_code", INT16),
                        field("partition_index", INT32),
                        field("leader_id", INT32),
                        field("leader_epoch", INT32).since(7),
                        field("replica_nodes", Type::Array(&INT32)),
                        field("isr_nodes", Type::Array(&INT32)),
                        field("offline_replicas", Type::Array(&INT32)).since(5),
                    ])),
                ),
                field("topic_authorized_operations", INT32).since(8),
            ])),
        ),
        field("cluster_authorized_operations", INT32)
            .since(8)
            .until(10),
        field("error_code", INT16).since(13),
    ],
);

pub(super) const OFFSET_COMMIT: Message = Message::new(
    8,
    &[
        field("throttle_time_ms", INT32).since(3),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).until(9),
                field("topic_id", UUID).since(10),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("error_code", INT16),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const OFFSET_FETCH: Message = Message::new(
    6,
    &[
        field("throttle_time_ms", INT32).since(3),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).until(7),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32).until(7),
                        field("committed_offset", INT64).until(7),
                        field("committed_leader_epoch", INT32).since(5).until(7),
                        field("metadata", Type::String).until(7),
                        field("error_code", INT16).until(7),
                    ])),
                )
                .until(7),
            ])),
        )
        .until(7),
        field("error_code", INT16).since(2).until(7),
        field(
            "groups",
            Type::Array(&Type::Struct(&[
                field("group_id", Type::String).since(8),
                field(
                    "topics",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String).since(8).until(9),
                        field("topic_id", UUID).since(10),
                        field(
                            "partitions",
                            Type::Array(&Type::Struct(&[
                                field("partition_index", INT32).since(8),
                                field("committed_offset", INT64).since(8),
                                field("committed_leader_epoch", INT32).since(8),
                                field("metadata", Type::String).since(8),
                                field("error_code", INT16).since(8),
                            ])),
                        )
                        .since(8),
                    ])),
                )
                .since(8),
                field("error_code", INT16).since(8),
            ])),
        )
        .since(8),
    ],
);

pub(super) const FIND_COORDINATOR: Message = Message::new(
    3,
    &[
        field("throttle_time_ms", INT32).since(1),
        field("error_code", INT16).until(3),
        field("error_message", Type::String).since(1).until(3),
        field("node_id", INT32).until(3),
        field("host", Type::String).until(3),
        field("port", INT32).until(3),
        field(
            "coordinators",
            Type::Array(&Type::Struct(&[
                field("key", Type::String).since(4),
                field("node_id", INT32).since(4),
                field("host", Type::String).since(4),
                field("port", INT32).since(4),
                field("error_code", INT16).since(4),
                field("error_message", Type::String).since(4),
            ])),
        )
        .since(4),
    ],
);

pub(super) const JOIN_GROUP: Message = Message::new(
    6,
    &[
        field("throttle_time_ms", INT32).since(2),
        field("error_code", INT16),
        field("generation_id", INT32),
        field("protocol_type", Type::String).since(7),
        field("protocol_name", Type::String),
        field("leader", Type::String),
        field("skip_assignment", BOOL).since(9),
        field("member_id", Type::String),
        field(
            "members",
            Type::Array(&Type::Struct(&[
                field("member_id", Type::String),
                field("group_instance_id", Type::String).since(5),
                field("metadata", Type::Bytes),
            ])),
        ),
    ],
);

pub(super) const HEARTBEAT: Message = Message::new(
    4,
    &[
        field("throttle_time_ms", INT32).since(1),
        field("error_code", INT16),
    ],
);

pub(super) const LEAVE_GROUP: Message = Message::new(
    4,
    &[
        field("throttle_time_ms", INT32).since(1),
        field("error_code", INT16),
        field(
            "members",
            Type::Array(&Type::Struct(&[
                field("member_id", Type::String).since(3),
                field("group_instance_id", Type::String).since(3),
                field("error_code", INT16).since(3),
            ])),
        )
        .since(3),
    ],
);

pub(super) const SYNC_GROUP: Message = Message::new(
    4,
    &[
        field("throttle_time_ms", INT32).since(1),
        field("error_code", INT16),
        field("protocol_type", Type::String).since(5),
        field("protocol_name", Type::String).since(5),
        field("assignment", Type::Bytes),
    ],
);

pub(super) const DESCRIBE_GROUPS: Message = Message::new(
    5,
    &[
        field("throttle_time_ms", INT32).since(1),
        field(
            "groups",
            Type::Array(&Type::Struct(&[
                field("error_code", INT16),
                field("error_message", Type::String).since(6),
                field("group_id", Type::String),
                field("group_state", Type::String),
                field("protocol_type", Type::String),
                field("protocol_data", Type::String),
                field(
                    "members",
                    Type::Array(&Type::Struct(&[
                        field("member_id", Type::String),
                        field("group_instance_id", Type::String).since(4),
                        field("client_id", Type::String),
                        field("client_host", Type::String),
                        field("member_metadata", Type::Bytes),
                        field("member_assignment", Type::Bytes),
                    ])),
                ),
                field("authorized_operations", INT32).since(3),
            ])),
        ),
    ],
);

pub(super) const LIST_GROUPS: Message = Message::new(
    3,
    &[
        field("throttle_time_ms", INT32).since(1),
        field("error_code", INT16),
        field(
            "groups",
            Type::Array(&Type::Struct(&[
                field("group_id", Type::String),
                field("protocol_type", Type::String),
                field("group_state", Type::String).since(4),
                field("group_type", Type::String).since(5),
            ])),
        ),
    ],
);

pub(super) const API_VERSIONS: Message = Message::new(
    3,
    &[
        field("error_code", INT16),
        field(
            "api_keys",
            Type::Array(&Type::Struct(&[
                field("api_key", INT16),
                field("min_version", INT16),
                field("max_version", INT16),
            ])),
        ),
        field("throttle_time_ms", INT32).since(1),
        field(
            "supported_features",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).since(3),
                field("min_version", INT16).since(3),
                field("max_version", INT16).since(3),
            ])),
        )
        .since(3)
        .tagged(0),
        field("finalized_features_epoch", INT64).since(3).tagged(1),
        field(
            "finalized_features",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).since(3),
                field("max_version_level", INT16).since(3),
                field("min_version_level", INT16).since(3),
            ])),
        )
        .since(3)
        .tagged(2),
        field("zk_migration_ready", BOOL).since(3).tagged(3),
    ],
);

pub(super) const CREATE_TOPICS: Message = Message::new(
    5,
    &[
        field("throttle_time_ms", INT32),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field("topic_id", UUID).since(7),
                field("error_code", INT16),
                field("error_message", Type::String),
                field("topic_config_error_code", INT16).since(5).tagged(0),
                field("num_partitions", INT32).since(5),
                field("replication_factor", INT16).since(5),
                field(
                    "configs",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String).since(5),
                        field("value", Type::String).since(5),
                        field("read_only", BOOL).since(5),
                        field("config_source", INT8).since(5),
                        field("is_sensitive", BOOL).since(5),
                    ])),
                )
                .since(5),
            ])),
        ),
    ],
);

pub(super) const DELETE_TOPICS: Message = Message::new(
    4,
    &[
        field("throttle_time_ms", INT32),
        field(
            "responses",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field("topic_id", UUID).since(6),
                field("error_code", INT16),
                field("error_message", Type::String).since(5),
            ])),
        ),
    ],
);

pub(super) const INIT_PRODUCER_ID: Message = Message::new(
    2,
    &[
        field("throttle_time_ms", INT32),
        field("error_code", INT16),
        field("producer_id", INT64),
        field("producer_epoch", INT16),
    ],
);

pub(super) const OFFSET_FOR_LEADER_EPOCH: Message = Message::new(
    4,
    &[
        field("throttle_time_ms", INT32),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("topic", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("error_code", INT16),
                        field("partition", INT32),
                        field("leader_epoch", INT32),
                        field("end_offset", INT64),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const DESCRIBE_CONFIGS: Message = Message::new(
    4,
    &[
        field("throttle_time_ms", INT32),
        field(
            "results",
            Type::Array(&Type::Struct(&[
                field("error_code", INT16),
                field("error_message", Type::String),
                field("resource_type", INT8),
                field("resource_name", Type::String),
                field(
                    "configs",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String),
                        field("value", Type::String),
                        field("read_only", BOOL),
                        field("config_source", INT8),
                        field("is_sensitive", BOOL),
                        field(
                            "synonyms",
                            Type::Array(&Type::Struct(&[
                                field("name", Type::String),
                                field("value", Type::String),
                                field("source", INT8),
                            ])),
                        ),
                        field("config_type", INT8).since(3),
                        field("documentation", Type::String).since(3),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const ALTER_CONFIGS: Message = Message::new(
    2,
    &[
        field("throttle_time_ms", INT32),
        field(
            "responses",
            Type::Array(&Type::Struct(&[
                field("error_code", INT16),
                field("error_message", Type::String),
                field("resource_type", INT8),
                field("resource_name", Type::String),
            ])),
        ),
    ],
);

pub(super) const INCREMENTAL_ALTER_CONFIGS: Message = Message::new(
    1,
    &[
        field("throttle_time_ms", INT32),
        field(
            "responses",
            Type::Array(&Type::Struct(&[
                field("error_code", INT16),
                field("error_message", Type::String),
                field("resource_type", INT8),
                field("resource_name", Type::String),
            ])),
        ),
    ],
);

pub(super) const DESCRIBE_CLUSTER: Message = Message::new(
    0,
    &[
        field("throttle_time_ms", INT32),
        field("error_code", INT16),
        field("error_message", Type::String),
        field("endpoint_type", INT8).since(1),
        field("cluster_id", Type::String),
        field("controller_id", INT32),
        field(
            "brokers",
            Type::Array(&Type::Struct(&[
                field("broker_id", INT32),
                field("host", Type::String),
                field("port", INT32),
                field("rack", Type::String),
                field("is_fenced", BOOL).since(2),
            ])),
        ),
        field("cluster_authorized_operations", INT32),
    ],
);

pub(super) const DELETE_RECORDS: Message = Message::new(
    2,
    &[
        field("throttle_time_ms", INT32),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("low_watermark", INT64),
                        field("error_code", INT16),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const DESCRIBE_LOG_DIRS: Message = Message::new(
    2,
    &[
        field("throttle_time_ms", INT32),
        field("error_code", INT16).since(3),
        field(
            "results",
            Type::Array(&Type::Struct(&[
                field("error_code", INT16),
                field("log_dir", Type::String),
                field(
                    "topics",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String),
                        field(
                            "partitions",
                            Type::Array(&Type::Struct(&[
                                field("partition_index", INT32),
                                field("partition_size", INT64),
                                field("offset_lag", INT64),
                                field("is_future_key", BOOL),
                            ])),
                        ),
                    ])),
                ),
                field("total_bytes", INT64).since(4),
                field("usable_bytes", INT64).since(4),
                field("is_cordoned", BOOL).since(5),
            ])),
        ),
    ],
);

pub(super) const CREATE_PARTITIONS: Message = Message::new(
    2,
    &[
        field("throttle_time_ms", INT32),
        field(
            "results",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field("error_code", INT16),
                field("error_message", Type::String),
            ])),
        ),
    ],
);

pub(super) const DELETE_GROUPS: Message = Message::new(
    2,
    &[
        field("throttle_time_ms", INT32),
        field(
            "results",
            Type::Array(&Type::Struct(&[
                field("group_id", Type::String),
                field("error_code", INT16),
            ])),
        ),
    ],
);

pub(super) const OFFSET_DELETE: Message = Message::new(
    i16::MAX,
    &[
        field("error_code", INT16),
        field("throttle_time_ms", INT32),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("error_code", INT16),
                    ])),
                ),
            ])),
        ),
    ],
);

const QUORUM_REPLICAS: Type = Type::Array(&Type::Struct(&[
    field("replica_id", INT32),
    field("replica_directory_id", UUID).since(2),
    field("log_end_offset", INT64),
    field("last_fetch_timestamp", INT64).since(1),
    field("last_caught_up_timestamp", INT64).since(1),
]));

pub(super) const DESCRIBE_QUORUM: Message = Message::new(
    0,
    &[
        field("error_code", INT16),
        field("error_message", Type::String).since(2),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("topic_name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("error_code", INT16),
                        field("error_message", Type::String).since(2),
                        field("leader_id", INT32),
                        field("leader_epoch", INT32),
                        field("high_watermark", INT64),
                        field("current_voters", QUORUM_REPLICAS),
                        field("observers", QUORUM_REPLICAS),
                    ])),
                ),
            ])),
        ),
        field(
            "nodes",
            Type::Array(&Type::Struct(&[
                field("node_id", INT32),
                field(
                    "listeners",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String),
                        field("host", Type::String),
                        field("port", INT16),
                    ])),
                ),
            ])),
        )
        .since(2),
    ],
);

pub(super) const DESCRIBE_PRODUCERS: Message = Message::new(
    0,
    &[
        field("throttle_time_ms", INT32),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("error_code", INT16),
                        field("error_message", Type::String),
                        field(
                            "active_producers",
                            Type::Array(&Type::Struct(&[
                                field("producer_id", INT64),
                                field("producer_epoch", INT32),
                                field("last_sequence", INT32),
                                field("last_timestamp", INT64),
                                field("coordinator_epoch", INT32),
                                field("current_txn_start_offset", INT64),
                            ])),
                        ),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const LIST_CONFIG_RESOURCES: Message = Message::new(
    0,
    &[
        field("throttle_time_ms", INT32),
        field("error_code", INT16),
        field(
            "config_resources",
            Type::Array(&Type::Struct(&[
                field("resource_name", Type::String),
                field("resource_type", INT8).since(1),
            ])),
        ),
    ],
);

pub(super) const DESCRIBE_TOPIC_PARTITIONS: Message = Message::new(
    0,
    &[
        field("throttle_time_ms", INT32),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("error_code", INT16),
                field("name", Type::String),
                field("topic_id", UUID),
                field("is_internal", BOOL),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("error_code", INT16),
                        field("partition_index", INT32),
                        field("leader_id", INT32),
                        field("leader_epoch", INT32),
                        field("replica_nodes", Type::Array(&INT32)),
                        field("isr_nodes", Type::Array(&INT32)),
                        field("eligible_leader_replicas", Type::Array(&INT32)),
                        field("last_known_elr", Type::Array(&INT32)),
                        field("offline_replicas", Type::Array(&INT32)),
                    ])),
                ),
                field("topic_authorized_operations", INT32),
            ])),
        ),
        field(
            "next_cursor",
            Type::Nullable(&[
                field("topic_name", Type::String),
                field("partition_index", INT32),
            ]),
        ),
    ],
);
