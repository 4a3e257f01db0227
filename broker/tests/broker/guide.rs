//! What the guide says is so: the settings, the metrics and the dashboard's queries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use millstream_broker::config::{Settings, broker_key, topic_key};
use millstream_broker::metrics::{ShardMetrics, TopicMetrics, render};
use millstream_broker::reference;
use millstream_net::ApiTimes;
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn read(path: &str) -> String {
    let path = docs().join(path);
    fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

#[test]
fn the_page_of_settings_is_what_the_daemon_prints() {
    let (page, printed) = (read("configuration.md"), reference::settings_page());
    let different = page
        .lines()
        .zip(printed.lines())
        .find(|(page, printed)| page != printed);
    assert!(
        page == printed,
        "docs/configuration.md is stale; write it anew:\n\
         cargo run -p millstream-broker -- --list-settings=markdown > docs/configuration.md\n\
         the first line that differs: {different:?}"
    );
}

/// Pages that tell people what to type.
const GUIDE: &[&str] = &[
    "../README.md",
    "README.md",
    "getting-started.md",
    "coming-from-kafka.md",
    "operating.md",
];

/// The words of a page that are set as code, in its text and in blocks, with an empty one after
/// each span and line.
fn code(page: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut take = |span: &str| {
        words.extend(span.split_whitespace().map(str::to_owned));
        words.push(String::new());
    };
    for (at, block) in page.split("```").enumerate() {
        if at % 2 == 1 {
            block.lines().skip(1).for_each(&mut take);
        } else {
            block.split('`').skip(1).step_by(2).for_each(&mut take);
        }
    }
    words
}

/// Whether it stands for any setting.
fn is_placeholder(pair: &str) -> bool {
    pair.eq_ignore_ascii_case("key=value")
}

#[test]
fn settings_that_the_guide_gives_are_taken() {
    let mut given = 0;
    for page in GUIDE {
        for pair in code(&read(page)).windows(2) {
            if pair[0] == "--set" && !pair[1].is_empty() && !is_placeholder(&pair[1]) {
                let taken = Settings::default().take_pair(pair[1].trim_matches('\''));
                assert_eq!(taken, Ok(()), "{page}: --set {}", pair[1]);
                given += 1;
            }
        }
    }
    assert!(given > 3, "only {given} were found");
}

#[test]
fn settings_that_the_guide_names_exist() {
    // Words with dots between that are no settings.
    const OTHERS: &[&str] = &["server.properties", "meta.properties", "partition.metadata"];
    for page in GUIDE {
        for word in code(&read(page)) {
            let name = word.split('=').next().unwrap_or_default();
            let looks_like_one = name.split('.').count() >= 2
                && name
                    .split('.')
                    .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase()));
            let file = [
                ".md", ".json", ".sh", ".service", ".log", ".index", ".conf", ".com",
            ];
            if !looks_like_one
                || OTHERS.contains(&name)
                || file.iter().any(|end| name.ends_with(end))
            {
                continue;
            }
            let known = broker_key(name).is_some() || topic_key(name).is_some();
            // A client's own, such as bootstrap.servers.
            let of_a_client = CLIENT_SETTINGS.contains(&name);
            assert!(
                known || of_a_client,
                "{page} names `{name}`, which is no setting"
            );
        }
    }
}

/// Settings of Kafka's clients that the guide names.
const CLIENT_SETTINGS: &[&str] = &[
    "bootstrap.servers",
    "group.protocol",
    "transactional.id",
    "print.key",
    "key.separator",
];

/// Every metric with the labels it has, as a node with one topic and one API renders them.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let shard = ShardMetrics {
        requests: BTreeMap::from([(0, ApiTimes::default())]),
        topics: BTreeMap::from([("t".into(), TopicMetrics::default())]),
        ..ShardMetrics::default()
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in render(&[shard])
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let sample = line.rsplit_once(' ').expect("a sample has a value").0;
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let names = labels.trim_end_matches('}').split("\",");
        let names = names
            .filter_map(|label| label.split_once('='))
            .map(|(name, _)| name.to_owned());
        found.entry(name.to_owned()).or_default().extend(names);
    }
    found
}

/// The words of letters and underscores in a query, those in quotes left out.
fn words(query: &str) -> Vec<String> {
    let unquoted: String = query.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    let words = unquoted.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$');
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// All queries of the dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(query) if name == "expr" || name == "definition" => {
                        found.push(query.clone());
                    }
                    field => queries(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_there_are() {
    // Functions and words of PromQL, what Prometheus adds to every sample, and Grafana's own.
    const LANGUAGE: &[&str] = &[
        "by",
        "histogram_quantile",
        "label_values",
        "max",
        "rate",
        "sum",
        "topk",
        "job",
        "instance",
        "up",
        "$__rate_interval",
        "$instance",
        "le",
    ];
    let metrics = metrics();
    let labels: BTreeSet<&String> = metrics.values().flatten().collect();
    let dashboard: Value = serde_json::from_str(&read("grafana/millstream.json")).expect("JSON");
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert!(found.len() > 15, "only {} queries were found", found.len());
    for query in &found {
        let mut asked = 0;
        for word in words(query) {
            let number = word.chars().all(|c| c.is_ascii_digit());
            if metrics.contains_key(&word) || word == "up" {
                asked += 1;
            } else {
                let known = number || LANGUAGE.contains(&&*word) || labels.contains(&word);
                assert!(known, "`{word}` in {query} is no metric and no label");
            }
        }
        assert!(asked > 0, "{query} asks for nothing");
    }
}

#[test]
fn the_guide_lists_every_metric_and_no_other() {
    let page = read("operating.md");
    let mut listed = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let name = line.split('`').nth(1).unwrap_or_default();
        // A condition to be woken for has blanks.
        let metric = name.starts_with("millstream_") || name.starts_with("process_");
        if metric && !name.contains(' ') {
            listed.insert(name.to_owned());
        }
    }
    let families: BTreeSet<String> = metrics()
        .into_keys()
        .filter(|name| !name.ends_with("_bucket") && !name.ends_with("_sum"))
        .map(|name| name.trim_end_matches("_count").to_owned())
        .collect();
    assert_eq!(listed, families);
}
