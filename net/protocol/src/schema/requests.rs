//! The shapes of the requests that the broker advertises, as Kafka's message definitions give them
//! for the versions that are handled. A field without a range is in all of these versions.

use super::{BOOL, INT8, INT16, INT32, INT64, Message, Type, UUID, field};

pub(super) const PRODUCE: Message = Message::new(
    9,
    &[
        field("transactional_id", Type::String),
        field("acks", INT16),
        field("timeout_ms", INT32),
        field(
            "topic_data",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).until(12),
                field("topic_id", UUID).since(13),
                field(
                    "partition_data",
                    Type::Array(&Type::Struct(&[
                        field("index", INT32),
                        field("records", Type::Bytes),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const FETCH: Message = Message::new(
    12,
    &[
        field("cluster_id", Type::String).since(12).tagged(0),
        field("replica_id", INT32).until(14),
        field(
            "replica_state",
            Type::Struct(&[
                field("replica_id", INT32).since(15),
                field("replica_epoch", INT64).since(15),
            ]),
        )
        .since(15)
        .tagged(1),
        field("max_wait_ms", INT32),
        field("min_bytes", INT32),
        field("max_bytes", INT32),
        field("isolation_level", INT8),
        field("session_id", INT32).since(7),
        field("session_epoch", INT32).since(7),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("topic", Type::String).until(12),
                field("topic_id", UUID).since(13),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition", INT32),
                        field("current_leader_epoch", INT32).since(9),
                        field("fetch_offset", INT64),
                        field("last_fetched_epoch", INT32).since(12),
                        field("log_start_offset", INT64).since(5),
                        field("partition_max_bytes", INT32),
                        field("replica_directory_id", UUID).since(17).tagged(0),
                        field("high_watermark", INT64).since(18).tagged(1),
                    ])),
                ),
            ])),
        ),
        field(
            "forgotten_topics_data",
            Type::Array(&Type::Struct(&[
                field("topic", Type::String).since(7).until(12),
                field("topic_id", UUID).since(13),
                field("partitions", Type::Array(&INT32)).since(7),
            ])),
        )
        .since(7),
        field("rack_id", Type::String).since(11),
    ],
);

pub(super) const LIST_OFFSETS: Message = Message::new(
    6,
    &[
        field("replica_id", INT32),
        field("isolation_level", INT8).since(2),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("current_leader_epoch", INT32).since(4),
                        field("timestamp", INT64),
                    ])),
                ),
            ])),
        ),
        field("timeout_ms", INT32).since(10),
    ],
);

pub(super) const METADATA: Message = Message::new(
    9,
    &[
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("topic_id", UUID).since(10),
                field("name", Type::String),
            ])),
        ),
        field("allow_auto_topic_creation", BOOL).since(4),
        field("include_cluster_authorized_operations", BOOL)
            .since(8)
            .until(10),
        field("include_topic_authorized_operations", BOOL).since(8),
    ],
);

pub(super) const OFFSET_COMMIT: Message = Message::new(
    8,
    &[
        field("group_id", Type::String),
        field("generation_id_or_member_epoch", INT32),
        field("member_id", Type::String),
        field("group_instance_id", Type::String).since(7),
        field("retention_time_ms", INT64).until(4),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).until(9),
                field("topic_id", UUID).since(10),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("committed_offset", INT64),
                        field("committed_leader_epoch", INT32).since(6),
                        field("committed_metadata", Type::String),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const OFFSET_FETCH: Message = Message::new(
    6,
    &[
        field("group_id", Type::String).until(7),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).until(7),
                field("partition_indexes", Type::Array(&INT32)).until(7),
            ])),
        )
        .until(7),
        field(
            "groups",
            Type::Array(&Type::Struct(&[
                field("group_id", Type::String).since(8),
                field("member_id", Type::String).since(9),
                field("member_epoch", INT32).since(9),
                field(
                    "topics",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String).since(8).until(9),
                        field("topic_id", UUID).since(10),
                        field("partition_indexes", Type::Array(&INT32)).since(8),
                    ])),
                )
                .since(8),
            ])),
        )
        .since(8),
        field("require_stable", BOOL).since(7),
    ],
);

pub(super) const FIND_COORDINATOR: Message = Message::new(
    3,
    &[
        field("key", Type::String).until(3),
        field("key_type", INT8).since(1),
        field("coordinator_keys", Type::Array(&Type::String)).since(4),
    ],
);

pub(super) const JOIN_GROUP: Message = Message::new(
    6,
    &[
        field("group_id", Type::String),
        field("session_timeout_ms", INT32),
        field("rebalance_timeout_ms", INT32).since(1),
        field("member_id", Type::String),
        field("group_instance_id", Type::String).since(5),
        field("protocol_type", Type::String),
        field(
            "protocols",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field("metadata", Type::Bytes),
            ])),
        ),
        field("reason", Type::String).since(8),
    ],
);

pub(super) const HEARTBEAT: Message = Message::new(
    4,
    &[
        field("group_id", Type::String),
        field("generation_id", INT32),
        field("member_id", Type::String),
        field("group_instance_id", Type::String).since(3),
    ],
);

pub(super) const LEAVE_GROUP: Message = Message::new(
    4,
    &[
        field("group_id", Type::String),
        field("member_id", Type::String).until(2),
        field(
            "members",
            Type::Array(&Type::Struct(&[
                field("member_id", Type::String).since(3),
                field("group_instance_id", Type::String).since(3),
                field("reason", Type::String).since(5),
            ])),
        )
        .since(3),
    ],
);

pub(super) const SYNC_GROUP: Message = Message::new(
    4,
    &[
        field("group_id", Type::String),
        field("generation_id", INT32),
        field("member_id", Type::String),
        field("group_instance_id", Type::String).since(3),
        field("protocol_type", Type::String).since(5),
        field("protocol_name", Type::String).since(5),
        field(
            "assignments",
            Type::Array(&Type::Struct(&[
                field("member_id", Type::String),
                field("assignment", Type::Bytes),
            ])),
        ),
    ],
);

pub(super) const DESCRIBE_GROUPS: Message = Message::new(
    5,
    &[
        field("groups", Type::Array(&Type::String)),
        field("include_authorized_operations", BOOL).since(3),
    ],
);

pub(super) const LIST_GROUPS: Message = Message::new(
    3,
    &[
        field("states_filter", Type::Array(&Type::String)).since(4),
        field("types_filter", Type::Array(&Type::String)).since(5),
    ],
);

pub(super) const API_VERSIONS: Message = Message::new(
    3,
    &[
        field("client_software_name", Type::String).since(3),
        field("client_software_version", Type::String).since(3),
    ],
);

pub(super) const CREATE_TOPICS: Message = Message::new(
    5,
    &[
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field("num_partitions", INT32),
                field("replication_factor", INT16),
                field(
                    "assignments",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("broker_ids", Type::Array(&INT32)),
                    ])),
                ),
                field(
                    "configs",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String),
                        field("value", Type::String),
                    ])),
                ),
            ])),
        ),
        field("timeout_ms", INT32),
        field("validate_only", BOOL),
    ],
);

pub(super) const DELETE_TOPICS: Message = Message::new(
    4,
    &[
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String).since(6),
                field("topic_id", UUID).since(6),
            ])),
        )
        .since(6),
        field("topic_names", Type::Array(&Type::String)).until(5),
        field("timeout_ms", INT32),
    ],
);

pub(super) const INIT_PRODUCER_ID: Message = Message::new(
    2,
    &[
        field("transactional_id", Type::String),
        field("transaction_timeout_ms", INT32),
        field("producer_id", INT64).since(3),
        field("producer_epoch", INT16).since(3),
    ],
);

pub(super) const OFFSET_FOR_LEADER_EPOCH: Message = Message::new(
    4,
    &[
        field("replica_id", INT32).since(3),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("topic", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition", INT32),
                        field("current_leader_epoch", INT32),
                        field("leader_epoch", INT32),
                    ])),
                ),
            ])),
        ),
    ],
);

pub(super) const DESCRIBE_CONFIGS: Message = Message::new(
    4,
    &[
        field(
            "resources",
            Type::Array(&Type::Struct(&[
                field("resource_type", INT8),
                field("resource_name", Type::String),
                field("configuration_keys", Type::Array(&Type::String)),
            ])),
        ),
        field("include_synonyms", BOOL),
        field("include_documentation", BOOL).since(3),
    ],
);

pub(super) const ALTER_CONFIGS: Message = Message::new(
    2,
    &[
        field(
            "resources",
            Type::Array(&Type::Struct(&[
                field("resource_type", INT8),
                field("resource_name", Type::String),
                field(
                    "configs",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String),
                        field("value", Type::String),
                    ])),
                ),
            ])),
        ),
        field("validate_only", BOOL),
    ],
);

pub(super) const INCREMENTAL_ALTER_CONFIGS: Message = Message::new(
    1,
    &[
        field(
            "resources",
            Type::Array(&Type::Struct(&[
                field("resource_type", INT8),
                field("resource_name", Type::String),
                field(
                    "configs",
                    Type::Array(&Type::Struct(&[
                        field("name", Type::String),
                        field("config_operation", INT8),
                        field("value", Type::String),
                    ])),
                ),
            ])),
        ),
        field("validate_only", BOOL),
    ],
);

pub(super) const DESCRIBE_CLUSTER: Message = Message::new(
    0,
    &[
        field("include_cluster_authorized_operations", BOOL),
        field("endpoint_type", INT8).since(1),
        field("include_fenced_brokers", BOOL).since(2),
    ],
);

pub(super) const DELETE_RECORDS: Message = Message::new(
    2,
    &[
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[
                        field("partition_index", INT32),
                        field("offset", INT64),
                    ])),
                ),
            ])),
        ),
        field("timeout_ms", INT32),
    ],
);

pub(super) const DESCRIBE_LOG_DIRS: Message = Message::new(
    2,
    &[field(
        "topics",
        Type::Array(&Type::Struct(&[
            field("topic", Type::String),
            field("partitions", Type::Array(&INT32)),
        ])),
    )],
);

pub(super) const CREATE_PARTITIONS: Message = Message::new(
    2,
    &[
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field("count", INT32),
                field(
                    "assignments",
                    Type::Array(&Type::Struct(&[field("broker_ids", Type::Array(&INT32))])),
                ),
            ])),
        ),
        field("timeout_ms", INT32),
        field("validate_only", BOOL),
    ],
);

pub(super) const DELETE_GROUPS: Message =
    Message::new(2, &[field("groups_names", Type::Array(&Type::String))]);

pub(super) const OFFSET_DELETE: Message = Message::new(
    i16::MAX,
    &[
        field("group_id", Type::String),
        field(
            "topics",
            Type::Array(&Type::Struct(&[
                field("name", Type::String),
                field(
                    "partitions",
                    Type::Array(&Type::Struct(&[field("partition_index", INT32)])),
                ),
            ])),
        ),
    ],
);

pub(super) const DESCRIBE_QUORUM: Message = Message::new(
    0,
    &[field(
        "topics",
        Type::Array(&Type::Struct(&[
            field("topic_name", Type::String),
            field(
                "partitions",
                Type::Array(&Type::Struct(&[field("partition_index", INT32)])),
            ),
        ])),
    )],
);

pub(super) const DESCRIBE_PRODUCERS: Message = Message::new(
    0,
    &[field(
        "topics",
        Type::Array(&Type::Struct(&[
            field("name", Type::String),
            field("partition_indexes", Type::Array(&INT32)),
        ])),
    )],
);

pub(super) const LIST_CONFIG_RESOURCES: Message =
    Message::new(0, &[field("resource_types", Type::Array(&INT8)).since(1)]);

pub(super) const DESCRIBE_TOPIC_PARTITIONS: Message = Message::new(
    0,
    &[
        field(
            "topics",
            Type::Array(&Type::Struct(&[field("name", Type::String)])),
        ),
        field("response_partition_limit", INT32),
        field(
            "cursor",
            Type::Nullable(&[
                field("topic_name", Type::String),
                field("partition_index", INT32),
            ]),
        ),
    ],
);
