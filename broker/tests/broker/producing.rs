//! Produce: what is refused, with which code, and what is appended (semantics of Kafka's
//! `ReplicaManager`, `LogValidator` and `ProducerStateManager`).

use bytes::Bytes;
use millstream_client::{ClientError, Connection};
use millstream_protocol::compression::Codec;
use millstream_protocol::messages::{ApiKey, InitProducerIdRequest, TransactionalId};
use millstream_protocol::record_batch::{BatchBuilder, BatchHeader};
use millstream_protocol::{ErrorCode, ProducerId};
use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{
    Cluster, NOW_MS, batch, builder, call, create_topic, fetch_request, find_coordinator, newest,
    produce, produce_request, text, topic_name, values,
};

/// The code with which a batch is refused by a topic with these settings.
fn refusal(configs: &'static [(&'static str, &'static str)], records: Bytes) -> ErrorCode {
    let cluster = Cluster::new(&[]);
    let code = cluster.run(async move |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, configs).await;
        let refused = produce(&connection, "t", 0, records).await;
        assert_eq!(
            (refused.base_offset, refused.log_append_time_ms),
            (-1, -1),
            "{refused:?}"
        );
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer), [], "nothing is appended");
        refused.error_code
    });
    ErrorCode::try_from_code(code).expect("an error")
}

/// A batch whose header was changed, with its checksum made right again.
fn forged(values: &[&str], change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let whole = batch(values);
    let mut header = BatchHeader::parse(&whole).expect("a header");
    change(&mut header);
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&whole[BatchHeader::SIZE..]);
    header.crc = crc32c::crc32c(&bytes[BatchHeader::CRC_START..]);
    bytes[..BatchHeader::SIZE].copy_from_slice(&header.to_bytes());
    bytes.into()
}

#[test]
fn a_wrong_checksum_is_corrupt_and_a_batch_cut_short_is_none() {
    let mut flipped = batch(&["abc"]).to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    assert_eq!(refusal(&[], flipped.into()), ErrorCode::CorruptMessage);
    let whole = batch(&["abc"]);
    // Kafka sees no batch at all in it.
    assert_eq!(
        refusal(&[], whole.slice(..whole.len() - 1)),
        ErrorCode::InvalidRecord
    );
}

#[test]
fn a_batch_that_contradicts_itself_is_invalid() {
    let invalid: [fn(&mut BatchHeader); 4] = [
        |header| header.last_offset_delta = 5,
        |header| header.records_count = -1,
        |header| header.attributes = header.attributes.with_control(true),
        |header| {
            header.producer_id = ProducerId(7);
            header.producer_epoch = 0;
            header.base_sequence = -1;
        },
    ];
    for change in invalid {
        assert_eq!(
            refusal(&[], forged(&["a", "b"], change)),
            ErrorCode::InvalidRecord
        );
    }
}

#[test]
fn one_batch_to_a_partition() {
    let mut two = batch(&["a"]).to_vec();
    two.extend_from_slice(&batch(&["b"]));
    assert_eq!(refusal(&[], two.into()), ErrorCode::InvalidRecord);
}

#[test]
fn a_batch_larger_than_the_topic_takes_is_too_large() {
    let records = batch(&["0123456789"; 20]);
    assert_eq!(
        refusal(&[("max.message.bytes", "200")], records),
        ErrorCode::MessageTooLarge
    );
}

#[test]
fn a_timestamp_too_far_off_refuses_the_batch() {
    let limits = &[
        ("message.timestamp.after.max.ms", "1000"),
        ("message.timestamp.before.max.ms", "1000"),
    ];
    for timestamp in [NOW_MS * 2, 1] {
        let mut records = builder(&["a"]);
        records.push(timestamp, None, Some(b"b"), &[]);
        let refused = refusal(limits, records.build().expect("not compressed"));
        assert_eq!(refused, ErrorCode::InvalidTimestamp);
    }
}

#[test]
fn a_compacted_topic_refuses_the_whole_batch_for_a_record_without_a_key() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[("cleanup.policy", "compact")]).await;
        let mut records = BatchBuilder::new(millstream_protocol::compression::Codec::None);
        records.push(NOW_MS, Some(b"k"), Some(b"a"), &[]);
        records.push(NOW_MS, None, Some(b"b"), &[]);
        let refused = produce(&connection, "t", 0, records.build().expect("a batch")).await;
        assert_eq!(refused.error_code, ErrorCode::InvalidRecord.code());
        let blamed: Vec<i32> = refused
            .record_errors
            .iter()
            .map(|e| e.batch_index)
            .collect();
        assert_eq!(blamed, [1]);
        let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
        assert_eq!(values(&answer), []);
    });
}

#[test]
fn unknown_and_internal_topics_are_refused() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let code = async |topic, partition| {
            produce(&connection, topic, partition, batch(&["a"]))
                .await
                .error_code
        };
        assert_eq!(
            code("absent", 0).await,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        assert_eq!(
            code("t", 1).await,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        find_coordinator(&connection, "g").await;
        assert_eq!(
            code("__consumer_offsets", 0).await,
            ErrorCode::InvalidTopicException.code()
        );
        let mut request = produce_request("", 0, -1, batch(&["a"]));
        request.topic_data[0].topic_id = uuid::Uuid::from_u128(5);
        let answer = call(&connection, 13, &request).await;
        let refused = &answer.responses[0].partition_responses[0];
        assert_eq!(refused.error_code, ErrorCode::UnknownTopicId.code());
    });
}

#[test]
fn other_acks_than_0_1_and_all_are_refused_for_every_partition() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let request = produce_request("t", 0, 2, batch(&["a"]));
        let answer = call(&connection, 9, &request).await;
        let refused = &answer.responses[0].partition_responses[0];
        assert_eq!(refused.error_code, ErrorCode::InvalidRequiredAcks.code());
    });
}

#[test]
fn without_acks_there_is_no_answer_and_an_error_closes_the_connection() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let good = produce_request("t", 0, 0, batch(&["a"]));
        connection.send(&good, 9).await.expect("sent");
        let answer = call(
            &connection,
            12,
            &fetch_request("t", 0, 0).with_max_wait_ms(5_000),
        )
        .await;
        assert_eq!(values(&answer), [(0, "a".to_owned())]);

        let bad = produce_request("absent", 0, 0, batch(&["a"]));
        connection.send(&bad, 9).await.expect("sent");
        let next =
            connection.call_version(&fetch_request("t", 0, 0), 12, connection.request_timeout());
        assert!(matches!(next.await, Err(ClientError::Disconnected { .. })));
    });
}

/// With one replica `min.insync.replicas=2` asks for one (`Partition.effectiveMinIsr`).
#[test]
fn no_more_replicas_are_asked_for_than_there_are() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[("min.insync.replicas", "2")]).await;
        let kept = produce(&connection, "t", 0, batch(&["a"])).await;
        assert_eq!((kept.error_code, kept.base_offset), (0, 0));
    });
}

#[test]
fn the_broker_stamps_records_where_the_topic_says_so() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(
            &connection,
            "t",
            1,
            &[("message.timestamp.type", "LogAppendTime")],
        )
        .await;
        let kept = produce(&connection, "t", 0, batch(&["a"])).await;
        assert_eq!(
            (kept.error_code, kept.base_offset, kept.log_start_offset),
            (0, 0, 0)
        );
        assert!(kept.log_append_time_ms > 0);
        let plain = create_topic(&connection, "u", 1, &[]).await;
        assert!(!plain.is_nil());
        let kept = produce(&connection, "u", 0, batch(&["a"])).await;
        assert_eq!(kept.log_append_time_ms, -1);
    });
}

#[test]
fn pipelined_batches_are_appended_in_their_order() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 4, &[]).await;
        for partition in 0..4 {
            let requests: Vec<_> = (0..20)
                .map(|n| produce_request("t", partition, -1, batch(&[&n.to_string()])))
                .map(|r| connection.call_version(&r, 9, connection.request_timeout()))
                .collect();
            for (n, answer) in requests.into_iter().enumerate() {
                let answer = answer.await.expect("answered");
                let kept = &answer.responses[0].partition_responses[0];
                assert_eq!((kept.error_code, kept.base_offset), (0, n as i64));
            }
            let answer = call(&connection, 12, &fetch_request("t", partition, 0)).await;
            let wanted: Vec<_> = (0..20).map(|n| (n, n.to_string())).collect();
            assert_eq!(values(&answer), wanted);
        }
    });
}

/// A batch of an idempotent producer.
fn sequenced(id: ProducerId, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    builder(values)
        .producer(id, epoch, sequence)
        .build()
        .expect("not compressed")
}

async fn producer_id(connection: &Connection) -> ProducerId {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let answer = call(connection, newest(ApiKey::InitProducerId), &request).await;
    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    ProducerId(answer.producer_id.0)
}

#[test]
fn producer_ids_are_never_given_twice_not_even_after_a_crash() {
    let mut cluster = Cluster::new(&[]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let ids = cluster.run(async |client| {
            let (one, other) = (client.connect().await, client.connect().await);
            let mut ids = Vec::new();
            for _ in 0..5 {
                ids.push(producer_id(&one).await.0);
                ids.push(producer_id(&other).await.0);
            }
            ids
        });
        for id in ids {
            assert!(seen.insert(id), "{id} was given twice");
        }
        cluster.crash_and_restart(KeepUnsynced::None);
    }
}

#[test]
fn a_repeated_batch_is_answered_with_its_first_offset_and_not_appended() {
    let mut cluster = Cluster::new(&[]);
    let id = cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let id = producer_id(&connection).await;
        for n in 0..6 {
            let kept = produce(&connection, "t", 0, sequenced(id, 0, 2 * n, &["a", "b"])).await;
            assert_eq!((kept.error_code, kept.base_offset), (0, i64::from(2 * n)));
        }
        id
    });
    // Also after a crash: the state is rebuilt from the log.
    for _ in 0..2 {
        cluster.run(async move |client| {
            let connection = client.connect().await;
            for n in 1..6 {
                let again =
                    produce(&connection, "t", 0, sequenced(id, 0, 2 * n, &["a", "b"])).await;
                assert_eq!((again.error_code, again.base_offset), (0, i64::from(2 * n)));
                assert_eq!(
                    again.log_append_time_ms, NOW_MS,
                    "the timestamp of the first"
                );
            }
            // One that came before those remembered is out of order, and not appended either.
            let old = produce(&connection, "t", 0, sequenced(id, 0, 0, &["a", "b"])).await;
            assert_eq!(old.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
            let answer = call(&connection, 12, &fetch_request("t", 0, 0)).await;
            assert_eq!(values(&answer).len(), 12);
        });
        cluster.crash_and_restart(KeepUnsynced::None);
    }
}

#[test]
fn sequences_have_no_gaps_and_epochs_do_not_go_back() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let id = producer_id(&connection).await;
        let code = async |epoch, sequence| {
            produce(&connection, "t", 0, sequenced(id, epoch, sequence, &["a"]))
                .await
                .error_code
        };
        assert_eq!(code(1, 0).await, 0);
        assert_eq!(code(1, 2).await, ErrorCode::OutOfOrderSequenceNumber.code());
        // A batch that follows a refused one is refused too.
        assert_eq!(code(1, 3).await, ErrorCode::OutOfOrderSequenceNumber.code());
        assert_eq!(code(0, 1).await, ErrorCode::InvalidProducerEpoch.code());
        assert_eq!(code(2, 1).await, ErrorCode::OutOfOrderSequenceNumber.code());
        assert_eq!(code(2, 0).await, 0);
        assert_eq!(code(2, 1).await, 0);
    });
}

#[test]
fn a_producer_that_is_not_known_may_begin_anywhere_and_sequences_wrap() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let id = producer_id(&connection).await;
        let kept = produce(&connection, "t", 0, sequenced(id, 0, i32::MAX, &["a"])).await;
        assert_eq!(kept.error_code, 0);
        let kept = produce(&connection, "t", 0, sequenced(id, 0, 0, &["b"])).await;
        assert_eq!((kept.error_code, kept.base_offset), (0, 1));
    });
}

#[test]
fn transactions_are_refused_clearly() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 1, &[]).await;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text("tx"))))
            .with_transaction_timeout_ms(60_000);
        let answer = call(&connection, newest(ApiKey::InitProducerId), &request).await;
        assert_eq!(
            answer.error_code,
            ErrorCode::TransactionalIdAuthorizationFailed.code()
        );
        let records = builder(&["a"])
            .producer(ProducerId(1), 0, 0)
            .transactional();
        let records = records.build().expect("a batch");
        let request = produce_request("t", 0, -1, records)
            .with_transactional_id(Some(TransactionalId(text("tx"))));
        let answer = call(&connection, 9, &request).await;
        let refused = &answer.responses[0].partition_responses[0];
        assert_eq!(refused.error_code, ErrorCode::InvalidTxnState.code());
        assert!(refused.error_message.is_some());
    });
}

#[test]
fn partitions_of_one_request_succeed_and_fail_each_for_itself() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 2, &[]).await;
        let mut request = produce_request("t", 0, -1, batch(&["a"]));
        let mut corrupt = batch(&["b"]).to_vec();
        *corrupt.last_mut().expect("bytes") ^= 1;
        let other = produce_request("t", 1, -1, corrupt.into());
        request.topic_data.extend(other.topic_data);
        request.topic_data[1].name = topic_name("t");
        let answer = call(&connection, 9, &request).await;
        let codes: Vec<i16> = answer
            .responses
            .iter()
            .flat_map(|topic| topic.partition_responses.iter().map(|p| p.error_code))
            .collect();
        assert_eq!(codes, [0, ErrorCode::CorruptMessage.code()]);
    });
}

#[test]
fn a_topic_with_a_codec_of_its_own_compresses_anew() {
    let cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        let sent = vec!["the same again"; 100];
        for (codec, name) in [
            (Codec::None, "uncompressed"),
            (Codec::Gzip, "gzip"),
            (Codec::Snappy, "snappy"),
            (Codec::Lz4, "lz4"),
            (Codec::Zstd, "zstd"),
        ] {
            create_topic(&connection, name, 1, &[("compression.type", name)]).await;
            let kept = produce(&connection, name, 0, batch(&sent)).await;
            assert_eq!(kept.error_code, 0, "{name}");
            let answer = call(&connection, 12, &fetch_request(name, 0, 0)).await;
            let stored = answer.responses[0].partitions[0].records.clone();
            let header = BatchHeader::parse(&stored.expect("records")).expect("a batch");
            assert_eq!(header.attributes.codec(), Ok(codec));
            let read: Vec<String> = values(&answer)
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            assert_eq!(read, sent);
        }
        // What counts is also the size of what is stored.
        let small = [
            ("compression.type", "uncompressed"),
            ("max.message.bytes", "1000"),
        ];
        create_topic(&connection, "small", 1, &small).await;
        let mut packed = BatchBuilder::new(Codec::Zstd);
        for value in &sent {
            packed.push(NOW_MS, None, Some(value.as_bytes()), &[]);
        }
        let packed = packed.build().expect("packed");
        assert!(packed.len() < 1000);
        let kept = produce(&connection, "small", 0, packed).await;
        assert_eq!(kept.error_code, ErrorCode::MessageTooLarge.code());
    });
}
