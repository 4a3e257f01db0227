//! What a client will see: the addresses it begins with, those it is then sent to, and the clock
//! and the partitions behind them.
//!
//! A client dials a bootstrap address once; after that it dials what the brokers advertise. So
//! each advertised listener is dialled from here, and what is found there is compared.

use std::net::IpAddr;
use std::time::Duration;

use millstream_client::{
    Broker, Client, ClientConfig, ClientError, Metadata, resolve, split_host_port,
};
use millstream_reactor::Reactor;

use super::Finding;
use crate::duration::format_duration;
use crate::output::counted;

/// A clock that is off by more deserves a word.
const CLOCK_TOLERANCE_MS: i64 = 1000;
/// How long one address may take: a firewall that drops packets lets one wait for ever.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What there is to say about the cluster behind the bootstrap addresses.
pub async fn findings(reactor: &Reactor, mut config: ClientConfig) -> Vec<Finding> {
    config.api_timeout = config.api_timeout.min(DIAL_TIMEOUT);
    config.connection.connect_timeout = config.connection.connect_timeout.min(DIAL_TIMEOUT);
    let mut findings = Vec::new();
    let mut reached = None;
    for server in &config.bootstrap_servers {
        let (finding, client) = bootstrap(reactor, &config, server).await;
        findings.push(finding);
        reached = reached.or(client);
    }
    let Some((client, metadata)) = reached else {
        return findings;
    };
    let from_afar = config
        .bootstrap_servers
        .iter()
        .any(|server| !is_loopback_server(server));
    for broker in metadata.brokers.values() {
        findings.push(advertised(reactor, &config, &metadata, broker, from_afar).await);
    }
    findings.push(controller(&client, &metadata).await);
    findings.extend(partitions(&client).await);
    findings
}

async fn bootstrap(
    reactor: &Reactor,
    config: &ClientConfig,
    server: &str,
) -> (Finding, Option<(Client, Metadata)>) {
    let began = reactor.now();
    match dial(reactor, config, server).await {
        Ok((client, metadata)) => {
            let took = millis(reactor.now() - began);
            let cluster = metadata.cluster_id.as_deref().unwrap_or("without an id");
            let brokers = counted(metadata.brokers.len(), "broker");
            let text = format!(
                "{server} answers in {took} ms: cluster {cluster}, {brokers}; clients go on to \
                 what these advertise"
            );
            (Finding::ok("bootstrap", text), Some((client, metadata)))
        }
        Err(error) => {
            let mend = match error {
                ClientError::InvalidAddress { .. } => "write host:port",
                ClientError::Timeout { .. } => {
                    "a firewall may drop it, or the port may be no broker's; a listener with TLS \
                     does not answer plain clients"
                }
                _ => "is the broker running, and is that one of its `listeners`?",
            };
            let text = format!("{server} does not serve: {error}");
            (Finding::error("bootstrap", text, mend), None)
        }
    }
}

async fn dial(
    reactor: &Reactor,
    config: &ClientConfig,
    server: &str,
) -> Result<(Client, Metadata), ClientError> {
    let config = ClientConfig {
        bootstrap_servers: vec![server.to_owned()],
        ..config.clone()
    };
    let client = Client::connect(reactor, config).await?;
    let metadata = client.refresh(Some(&[]), false).await?;
    Ok((client, metadata))
}

/// What a client finds where it is sent.
async fn advertised(
    reactor: &Reactor,
    config: &ClientConfig,
    metadata: &Metadata,
    broker: &Broker,
    from_afar: bool,
) -> Finding {
    const SUBJECT: &str = "listener";
    let (id, host) = (broker.id, &broker.host);
    let address = match host.contains(':') {
        true => format!("[{host}]:{}", broker.port),
        false => format!("{host}:{}", broker.port),
    };
    let shown = format!("broker {id} sends clients to {address}");
    let advertise = "set `advertised.listeners` of the broker to an address that clients reach";
    let ips = match resolve(host, broker.port).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let mend = format!("{advertise}, or make the name known to this machine");
            return Finding::error(
                SUBJECT,
                format!("{shown}, a name without an address: {error}"),
                mend,
            );
        }
    };
    if ips.iter().any(|address| address.ip().is_unspecified()) {
        let text =
            format!("{shown}, which is no address to dial but stands for all of a machine's");
        return Finding::error(SUBJECT, text, advertise);
    }
    let (client, seen) = match dial(reactor, config, &address).await {
        Ok(answer) => answer,
        Err(error) => {
            let text = format!("{shown}, which does not answer here: {error}");
            let mend = format!("{advertise}, and let firewalls pass it");
            return Finding::error(SUBJECT, text, mend);
        }
    };
    drop(client);
    if seen.cluster_id != metadata.cluster_id {
        let other = seen.cluster_id.as_deref().unwrap_or("without an id");
        let text = format!("{shown}, where another cluster answers ({other})");
        return Finding::error(SUBJECT, text, advertise);
    }
    let is_loopback = ips.iter().all(|address| address.ip().is_loopback());
    match (is_loopback, from_afar) {
        (false, _) => Finding::ok(SUBJECT, format!("{shown}, which answers")),
        (true, true) => {
            let text = format!(
                "{shown}, which is each client's own machine; here something answers, elsewhere \
                 clients will fail after they have found the cluster"
            );
            Finding::error(SUBJECT, text, advertise)
        }
        (true, false) => {
            let text = format!("{shown}, which answers; clients on other machines cannot use it");
            Finding::warning(
                SUBJECT,
                text,
                format!("if there shall be some, {advertise}"),
            )
        }
    }
}

/// The active controller, and how far its clock is from ours.
async fn controller(client: &Client, metadata: &Metadata) -> Finding {
    const SUBJECT: &str = "controller";
    let before = client.reactor().wall_clock_ms();
    let quorum = match client.describe_quorum().await {
        Ok(quorum) => quorum,
        Err(ClientError::UnsupportedVersion { .. }) if metadata.controller_id.is_some() => {
            return Finding::ok(SUBJECT, "there is one");
        }
        Err(error) => {
            let mend = "look into the brokers' logs: without a controller nothing changes";
            return Finding::error(SUBJECT, error.to_string(), mend);
        }
    };
    let after = client.reactor().wall_clock_ms();
    let Some(leader) = quorum.leader_id else {
        let mend = "most of the voters must be running and reach each other";
        return Finding::error(SUBJECT, "the quorum has no leader", mend);
    };
    let voters = counted(quorum.voters.len(), "voter");
    let text = format!("node {leader} leads {voters}");
    // The leader is level with itself now, by its own clock.
    let own = quorum.voters.iter().find(|voter| voter.id == leader);
    let Some(stamp) = own.and_then(|own| own.last_caught_up_ms) else {
        return Finding::ok(SUBJECT, text);
    };
    let skew = skew_ms(stamp, before, after);
    if skew.abs() <= CLOCK_TOLERANCE_MS {
        return Finding::ok(
            SUBJECT,
            format!("{text}; its clock agrees with this machine's"),
        );
    }
    let direction = if skew > 0 { "ahead of" } else { "behind" };
    let text = format!(
        "{text}; its clock is {} {direction} this machine's",
        format_duration(skew.abs())
    );
    let mend = "let chrony or systemd-timesyncd keep both right: retention and look-ups by time \
                go by the clock";
    Finding::warning("clock", text, mend)
}

/// How far a stamp lies outside the time in which it was made.
fn skew_ms(stamp: i64, before: i64, after: i64) -> i64 {
    match stamp {
        stamp if stamp < before => stamp - before,
        stamp if stamp > after => stamp - after,
        _ => 0,
    }
}

/// Partitions that cannot be used, or have fewer replicas than they should.
async fn partitions(client: &Client) -> Vec<Finding> {
    const SUBJECT: &str = "partitions";
    let topics = match client.list_topics().await {
        Ok(topics) => topics,
        Err(error) => {
            let mend = "look into the broker's log";
            return vec![Finding::error(SUBJECT, error.to_string(), mend)];
        }
    };
    let (mut all, mut leaderless, mut thin) = (0, Vec::new(), Vec::new());
    for topic in &topics {
        for (index, partition) in &topic.partitions {
            all += 1;
            if partition.leader.is_none() {
                leaderless.push(format!("{}-{index}", topic.name));
            } else if partition.isr.len() < partition.replicas.len() {
                thin.push(format!("{}-{index}", topic.name));
            }
        }
    }
    let mut findings = Vec::new();
    if !leaderless.is_empty() {
        findings.push(Finding::error(
            SUBJECT,
            format!(
                "{} without a leader: {}",
                leaderless.len(),
                some_of(&leaderless)
            ),
            "start the brokers that have their replicas, or look for the folder that went offline \
             in their logs",
        ));
    }
    if !thin.is_empty() {
        findings.push(Finding::warning(
            SUBJECT,
            format!("{} with replicas behind: {}", thin.len(), some_of(&thin)),
            "see which brokers are missing with `millstream topic describe`",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            SUBJECT,
            format!("{}, all in order", counted(all, "partition")),
        ));
    }
    findings
}

fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

fn is_loopback_server(server: &str) -> bool {
    let Ok((host, _)) = split_host_port(server) else {
        return false;
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_what_the_question_cannot_explain() {
        assert_eq!(skew_ms(150, 100, 200), 0);
        assert_eq!(skew_ms(90, 100, 200), -10);
        assert_eq!(skew_ms(260, 100, 200), 60);
    }

    #[test]
    fn loopback_is_recognised() {
        for server in ["localhost:9092", "127.0.0.1:1", "[::1]:9092"] {
            assert!(is_loopback_server(server), "{server}");
        }
        assert!(!is_loopback_server("broker:9092") && !is_loopback_server("10.0.0.1:9092"));
    }
}
