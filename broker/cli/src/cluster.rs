//! `millstream cluster info`: nodes, controllers, features, and what each broker speaks.

use std::collections::BTreeMap;

use millstream_client::{
    Client, ClientError, ClusterDescription, Features, Purpose, Quorum, QuorumReplica,
};
use millstream_protocol::messages::ApiKey;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::{Output, heading, number_or_dash, table};

/// The versions of each API, by broker.
type Apis = BTreeMap<i32, BTreeMap<i16, (i16, i16)>>;

/// Shows the cluster; with `apis`, what each of its brokers speaks.
pub async fn info(client: &Client, apis: bool, output: &Output) -> Result<(), Failure> {
    let cluster = client.describe_cluster().await?;
    let quorum = match client.describe_quorum().await {
        Ok(quorum) => Some(quorum),
        // A cluster with ZooKeeper has no quorum.
        Err(ClientError::UnsupportedVersion { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let features = client.any_broker().await?.features();
    let mut spoken = Apis::new();
    if apis {
        for broker in &cluster.brokers {
            let connection = client.broker(broker.id, Purpose::Control).await?;
            spoken.insert(broker.id, connection.api_versions());
        }
    }
    let info = Info {
        cluster,
        quorum,
        features,
        apis: apis.then_some(spoken),
    };
    output.print(|| info.json(), || info.text(output))
}

struct Info {
    cluster: ClusterDescription,
    quorum: Option<Quorum>,
    features: Features,
    apis: Option<Apis>,
}

impl Info {
    /// The active controller: the quorum's leader, where there is a quorum.
    fn controller(&self) -> Option<i32> {
        match &self.quorum {
            Some(quorum) => quorum.leader_id,
            None => Some(self.cluster.controller_id).filter(|id| *id >= 0),
        }
    }

    fn json(&self) -> Value {
        let nodes = self.cluster.brokers.iter().map(|broker| {
            json!({
                "id": broker.id,
                "host": broker.host,
                "port": broker.port,
                "rack": broker.rack,
            })
        });
        let finalized = self.features.finalized.iter();
        let finalized = finalized.map(|feature| (feature.name.clone(), json!(feature.version)));
        let supported = self.features.supported.iter().map(|feature| {
            let range = json!({"min": feature.min_version, "max": feature.max_version});
            (feature.name.clone(), range)
        });
        let mut info = json!({
            "cluster_id": self.cluster.cluster_id,
            "controller": self.controller(),
            "nodes": nodes.collect::<Value>(),
            "quorum": self.quorum.as_ref().map(quorum_json),
            "features": {
                "finalized": finalized.collect::<Map<_, _>>(),
                "finalized_epoch": self.features.finalized_epoch,
                "supported": supported.collect::<Map<_, _>>(),
            },
        });
        if let Some(apis) = &self.apis {
            let apis = apis.iter().map(|(broker, apis)| {
                let apis = apis.iter().map(|(key, (min, max))| {
                    json!({"key": key, "name": api_name(*key), "min": min, "max": max})
                });
                (broker.to_string(), apis.collect::<Value>())
            });
            info["apis"] = Value::Object(apis.collect());
        }
        info
    }

    fn text(&self, output: &Output) -> String {
        let mut text = format!("cluster {}\n\n", output.strong(&self.cluster.cluster_id));
        let mut rows = vec![heading(&["NODE", "ADDRESS", "RACK", ""])];
        for broker in &self.cluster.brokers {
            let active = match self.controller() == Some(broker.id) {
                true => "active controller",
                false => "",
            };
            rows.push(vec![
                broker.id.to_string(),
                format!("{}:{}", broker.host, broker.port),
                broker.rack.clone().unwrap_or_else(|| "-".to_owned()),
                active.to_owned(),
            ]);
        }
        text.push_str(&table(&rows));
        if let Some(quorum) = &self.quorum {
            text.push_str(&quorum_text(quorum));
        }
        if !self.features.supported.is_empty() {
            let mut rows = vec![heading(&["FEATURE", "IN USE", "SUPPORTED"])];
            for feature in &self.features.supported {
                let finalized = self.features.finalized.iter();
                let in_use = finalized
                    .filter(|finalized| finalized.name == feature.name)
                    .map(|finalized| i64::from(finalized.version));
                rows.push(vec![
                    feature.name.clone(),
                    number_or_dash(in_use.max()),
                    format!("{} to {}", feature.min_version, feature.max_version),
                ]);
            }
            text.push_str(&format!("\n{}", table(&rows)));
        }
        for (broker, apis) in self.apis.iter().flatten() {
            let mut rows = vec![heading(&["API", "NAME", "VERSIONS"])];
            rows.extend(apis.iter().map(|(key, (min, max))| {
                vec![key.to_string(), api_name(*key), format!("{min} to {max}")]
            }));
            text.push_str(&format!("\nbroker {broker} speaks\n{}", table(&rows)));
        }
        text
    }
}

fn quorum_json(quorum: &Quorum) -> Value {
    let replicas = |replicas: &[QuorumReplica]| -> Value {
        let replicas = replicas.iter().map(|replica| {
            json!({
                "id": replica.id,
                "log_end_offset": replica.log_end_offset,
                "lag": lag(quorum, replica),
                "last_caught_up_ms": replica.last_caught_up_ms,
            })
        });
        replicas.collect()
    };
    json!({
        "leader": quorum.leader_id,
        "leader_epoch": quorum.leader_epoch,
        "high_watermark": quorum.high_watermark,
        "voters": replicas(&quorum.voters),
        "observers": replicas(&quorum.observers),
    })
}

fn quorum_text(quorum: &Quorum) -> String {
    let leader = match quorum.leader_id {
        Some(id) => format!("led by {id}"),
        None => "without a leader".to_owned(),
    };
    let mut text = format!(
        "\nquorum {leader} in epoch {}, metadata up to offset {}\n",
        quorum.leader_epoch, quorum.high_watermark
    );
    let mut rows = vec![heading(&["NODE", "ROLE", "END", "LAG"])];
    let voters = quorum.voters.iter().map(|replica| (replica, "voter"));
    let observers = quorum.observers.iter().map(|replica| (replica, "observer"));
    for (replica, role) in voters.chain(observers) {
        rows.push(vec![
            replica.id.to_string(),
            role.to_owned(),
            number_or_dash(replica.log_end_offset),
            number_or_dash(lag(quorum, replica)),
        ]);
    }
    text.push_str(&table(&rows));
    text
}

/// How far a node's metadata is behind the leader's.
fn lag(quorum: &Quorum, replica: &QuorumReplica) -> Option<i64> {
    let leader = quorum
        .voters
        .iter()
        .find(|voter| Some(voter.id) == quorum.leader_id)?;
    Some((leader.log_end_offset? - replica.log_end_offset?).max(0))
}

fn api_name(key: i16) -> String {
    match ApiKey::try_from(key) {
        Ok(key) => format!("{key:?}"),
        Err(()) => "(not known here)".to_owned(),
    }
}
