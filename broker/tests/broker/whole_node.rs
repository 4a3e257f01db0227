//! A node from start to stop and through crashes.

use millstream_reactor::sim::KeepUnsynced;

use crate::harness::{Cluster, batch, call, create_topic, fetch_request, produce, values};

#[test]
fn what_was_acknowledged_is_there_after_a_stop_and_after_a_crash() {
    let mut cluster = Cluster::new(&[]);
    cluster.run(async |client| {
        let connection = client.connect().await;
        create_topic(&connection, "t", 6, &[]).await;
        for partition in 0..6 {
            let kept = produce(&connection, "t", partition, batch(&["a", "b"])).await;
            assert_eq!((kept.error_code, kept.base_offset), (0, 0));
        }
    });
    cluster.restart();
    cluster.run(async |client| {
        let connection = client.connect().await;
        for partition in 0..6 {
            let kept = produce(&connection, "t", partition, batch(&["c"])).await;
            assert_eq!((kept.error_code, kept.base_offset), (0, 2));
        }
    });
    cluster.crash_and_restart(KeepUnsynced::None);
    cluster.run(async |client| {
        let connection = client.connect().await;
        for partition in 0..6 {
            let answer = call(&connection, 12, &fetch_request("t", partition, 0)).await;
            let wanted = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
            assert_eq!(values(&answer), wanted, "partition {partition} {answer:?}");
        }
    });
}
