//! `millstream config`: settings shown, changed, explained.

use millstream_client::{
    Client, ClientError, ConfigChange, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource,
    ConfigType,
};
use millstream_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::arguments::{
    ConfigCommand, ConfigExplainArguments, ConfigGetArguments, ConfigSetArguments,
    ConfigUnsetArguments, ResourceArguments,
};
use crate::duration::format_duration;
use crate::failure::Failure;
use crate::output::{Output, heading, table};

/// How wide the text of an explanation may be.
const TEXT_WIDTH: usize = 96;

/// Runs a command on settings.
pub async fn run(client: &Client, command: ConfigCommand, output: &Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Get(arguments) => get(client, arguments, output).await,
        ConfigCommand::Set(arguments) => set(client, arguments, output).await,
        ConfigCommand::Unset(arguments) => unset(client, arguments, output).await,
        ConfigCommand::Explain(arguments) => explain(client, arguments, output).await,
    }
}

async fn get(
    client: &Client,
    arguments: ConfigGetArguments,
    output: &Output,
) -> Result<(), Failure> {
    let resource = resource(&arguments.resource);
    let mut entries = entries(client, &resource).await?;
    if !arguments.keys.is_empty() {
        for key in &arguments.keys {
            if !entries.iter().any(|entry| entry.name == *key) {
                return Err(unknown_key(key, &resource, &entries));
            }
        }
        entries.retain(|entry| arguments.keys.contains(&entry.name));
    } else if !arguments.all {
        entries.retain(|entry| entry.is_set_here || entry.source != ConfigSource::Default);
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    output.print(
        || {
            let entries = entries.iter().map(|entry| {
                json!({
                    "name": entry.name,
                    "value": entry.value,
                    "source": entry.source.name(),
                    "sensitive": entry.is_sensitive,
                    "read_only": entry.is_read_only,
                })
            });
            entries.collect()
        },
        || {
            if entries.is_empty() {
                return format!(
                    "{}: nothing is set, all is as by default (--all shows it)\n",
                    named(&resource)
                );
            }
            let mut rows = vec![heading(&["NAME", "VALUE", "FROM"])];
            rows.extend(entries.iter().map(|entry| {
                let value = shown(entry.value.as_deref(), entry.is_sensitive);
                vec![entry.name.clone(), value, origin(entry.source)]
            }));
            table(&rows)
        },
    )
}

async fn set(
    client: &Client,
    arguments: ConfigSetArguments,
    output: &Output,
) -> Result<(), Failure> {
    let change = |operation: fn(String) -> ConfigOperation| {
        move |(name, value): (String, String)| ConfigChange {
            name,
            operation: operation(value),
        }
    };
    let changes: Vec<ConfigChange> = arguments
        .pairs
        .into_iter()
        .map(change(ConfigOperation::Set))
        .chain(
            arguments
                .append
                .into_iter()
                .map(change(ConfigOperation::Append)),
        )
        .chain(
            arguments
                .subtract
                .into_iter()
                .map(change(ConfigOperation::Subtract)),
        )
        .collect();
    alter(
        client,
        &arguments.resource,
        &changes,
        arguments.dry_run,
        output,
    )
    .await
}

async fn unset(
    client: &Client,
    arguments: ConfigUnsetArguments,
    output: &Output,
) -> Result<(), Failure> {
    let changes: Vec<ConfigChange> = arguments
        .keys
        .into_iter()
        .map(|name| ConfigChange {
            name,
            operation: ConfigOperation::Unset,
        })
        .collect();
    alter(
        client,
        &arguments.resource,
        &changes,
        arguments.dry_run,
        output,
    )
    .await
}

async fn alter(
    client: &Client,
    whose: &ResourceArguments,
    changes: &[ConfigChange],
    dry_run: bool,
    output: &Output,
) -> Result<(), Failure> {
    let resource = resource(whose);
    let altered = client.alter_configs(&resource, changes, dry_run).await;
    altered.map_err(|error| known_resource(error, &resource))?;
    let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    output.print(
        || json!({"changed": names, "executed": !dry_run}),
        || {
            let done = match dry_run {
                true => "could change",
                false => "changed",
            };
            format!("{done} {} of {}\n", names.join(", "), named(&resource))
        },
    )
}

async fn explain(
    client: &Client,
    arguments: ConfigExplainArguments,
    output: &Output,
) -> Result<(), Failure> {
    let resource = match (arguments.topic, arguments.broker, arguments.group) {
        (Some(topic), _, _) => ConfigResource::Topic(topic),
        (_, Some(id), _) => ConfigResource::Broker(id),
        (_, _, Some(group)) => ConfigResource::Group(group),
        (None, None, None) => ConfigResource::Broker(any_broker(client).await?),
    };
    let keys = [arguments.key.clone()];
    let found = client
        .describe_config_keys(&resource, Some(&keys), true)
        .await;
    let found = found.map_err(|error| known_resource(error, &resource))?;
    let Some(entry) = found.into_iter().find(|entry| entry.name == arguments.key) else {
        let others = entries(client, &resource).await?;
        return Err(unknown_key(&arguments.key, &resource, &others));
    };
    output.print(
        || explanation_json(&entry),
        || explanation_text(&entry, &resource, output),
    )
}

async fn any_broker(client: &Client) -> Result<i32, Failure> {
    let metadata = client.refresh(Some(&[]), false).await?;
    let id = metadata.brokers.into_keys().next();
    Ok(id.ok_or(ClientError::Misuse("the cluster names no broker to ask"))?)
}

fn explanation_json(entry: &ConfigEntry) -> Value {
    let synonyms = entry.synonyms.iter().map(|synonym| {
        json!({
            "name": synonym.name,
            "value": synonym.value,
            "source": synonym.source.name(),
        })
    });
    json!({
        "name": entry.name,
        "type": entry.kind.name(),
        "value": entry.value,
        "default": default_value(entry),
        "source": entry.source.name(),
        "sensitive": entry.is_sensitive,
        "read_only": entry.is_read_only,
        "synonyms": synonyms.collect::<Value>(),
        "documentation": entry.documentation,
    })
}

fn explanation_text(entry: &ConfigEntry, resource: &ConfigResource, output: &Output) -> String {
    let kind = match entry.kind {
        ConfigType::Unknown => String::new(),
        kind => format!("  {}", kind.name()),
    };
    let mut text = format!("{}{kind}\n", output.strong(&entry.name));
    if let Some(documentation) = &entry.documentation {
        text.push_str(&wrapped(documentation, TEXT_WIDTH));
        text.push('\n');
    }
    let mut row = |name: &str, value: &str| text.push_str(&format!("  {name:<9} {value}\n"));
    let value = shown(entry.value.as_deref(), entry.is_sensitive);
    let hint = entry
        .value
        .as_deref()
        .and_then(|value| in_words(&entry.name, value));
    let hint = hint.map_or(String::new(), |hint| format!(" ({hint})"));
    row("value", &format!("{value}{hint}"));
    row("of", &named(resource));
    row("from", &origin(entry.source));
    match default_value(entry) {
        Some(default) => row("default", &default),
        None if entry.is_sensitive => row("default", "(secret)"),
        None => row(
            "default",
            "(the broker does not say while something is set)",
        ),
    }
    let changed = match entry.is_read_only {
        true => "in the broker's file of settings, with a restart",
        false => "while the broker runs: `millstream config set`",
    };
    row("changes", changed);
    if !entry.synonyms.is_empty() {
        text.push_str("  looked for in this order, the first that is set counts:\n");
        let rows: Vec<Vec<String>> = entry
            .synonyms
            .iter()
            .map(|synonym| {
                let value = shown(synonym.value.as_deref(), entry.is_sensitive);
                let name = format!("    {}", synonym.name);
                vec![name, value, origin(synonym.source)]
            })
            .collect();
        text.push_str(&table(&rows));
    }
    text
}

/// What holds when nobody sets anything, as far as the broker says it.
fn default_value(entry: &ConfigEntry) -> Option<String> {
    if entry.source == ConfigSource::Default {
        return entry.value.clone();
    }
    let synonyms = entry.synonyms.iter();
    let mut defaults = synonyms.filter(|synonym| synonym.source == ConfigSource::Default);
    defaults.next().and_then(|synonym| synonym.value.clone())
}

/// Times and sizes in words, where the name tells the unit.
fn in_words(name: &str, value: &str) -> Option<String> {
    let number: i64 = value.parse().ok().filter(|number| *number > 0)?;
    if name.ends_with(".ms") && number >= 1000 {
        return Some(format_duration(number));
    }
    (name.ends_with(".bytes") && number >= 1000).then(|| crate::progress::size(number as f64))
}

async fn entries(client: &Client, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, Failure> {
    let described = client.describe_configs(resource).await;
    described.map_err(|error| known_resource(error, resource))
}

fn resource(arguments: &ResourceArguments) -> ConfigResource {
    match arguments {
        ResourceArguments {
            topic: Some(topic), ..
        } => ConfigResource::Topic(topic.clone()),
        ResourceArguments {
            broker: Some(id), ..
        } => ConfigResource::Broker(*id),
        ResourceArguments {
            group: Some(group), ..
        } => ConfigResource::Group(group.clone()),
        _ => ConfigResource::AllBrokers,
    }
}

fn named(resource: &ConfigResource) -> String {
    match resource {
        ConfigResource::Topic(topic) => format!("topic {topic}"),
        ConfigResource::Broker(id) => format!("broker {id}"),
        ConfigResource::AllBrokers => "all brokers".to_owned(),
        ConfigResource::Group(group) => format!("group {group}"),
    }
}

/// A broker's code for a missing topic, in the words that all commands have for it.
fn known_resource(error: ClientError, resource: &ConfigResource) -> Failure {
    match (error.code(), resource) {
        (Some(ErrorCode::UnknownTopicOrPartition), ConfigResource::Topic(topic)) => {
            let topic = topic.as_str().into();
            ClientError::UnknownTopic { topic }.into()
        }
        _ => error.into(),
    }
}

fn unknown_key(key: &str, resource: &ConfigResource, known: &[ConfigEntry]) -> Failure {
    let nearest = known
        .iter()
        .map(|entry| (strsim::damerau_levenshtein(key, &entry.name), &entry.name))
        .filter(|(distance, _)| *distance <= 3.max(key.len() / 4))
        .min();
    let mend = match (nearest, resource) {
        (Some((_, name)), _) => format!("did you mean {name}?"),
        (None, ConfigResource::Broker(_) | ConfigResource::AllBrokers) => {
            "a setting of topics is asked for with --topic TOPIC; \
             `millstream config get --broker ID --all` shows those of brokers"
                .to_owned()
        }
        (None, _) => "`millstream config get --all` shows all there are".to_owned(),
    };
    Failure::NotFound {
        what: format!("{} has no setting {key:?}", named(resource)),
        mend,
    }
}

fn shown(value: Option<&str>, is_sensitive: bool) -> String {
    match value {
        Some(value) => value.to_owned(),
        None if is_sensitive => "(secret)".to_owned(),
        None => "(not set)".to_owned(),
    }
}

fn origin(source: ConfigSource) -> String {
    match source {
        ConfigSource::Topic => "set for the topic".to_owned(),
        ConfigSource::Broker => "set for the broker while it ran".to_owned(),
        ConfigSource::AllBrokers => "set for all brokers while they ran".to_owned(),
        ConfigSource::StaticBroker => "the broker's file of settings".to_owned(),
        ConfigSource::Default => "the default".to_owned(),
        ConfigSource::BrokerLogger => "the level of a logger".to_owned(),
        ConfigSource::ClientMetrics => "a subscription to client metrics".to_owned(),
        ConfigSource::Group => "set for the group".to_owned(),
        ConfigSource::Unknown(code) => format!("a source with the number {code}"),
    }
}

/// Text in lines of at most so many characters, each with two spaces before it. Tags of HTML,
/// which Kafka's own texts have, are left out.
fn wrapped(text: &str, width: usize) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        plain.push_str(before);
        let is_tag = tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        match tag.find('>').filter(|_| is_tag) {
            Some(end) => rest = &tag[end + 1..],
            None => {
                plain.push('<');
                rest = &tag[1..];
            }
        }
    }
    plain.push_str(rest);
    let mut lines = vec![String::new()];
    for word in plain.split_whitespace() {
        let line = lines.last_mut().expect("there is a line from the start");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width - 2 {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_and_loses_its_tags() {
        let text = "The <code>largest</code> batch, if 1 < 2 <br> of all";
        assert_eq!(
            wrapped(text, 20),
            "  The largest batch,\n  if 1 < 2 of all\n"
        );
        assert_eq!(wrapped("", 20), "  \n");
    }

    #[test]
    fn units_are_told_in_words() {
        let words = |name, value| in_words(name, value);
        assert_eq!(words("retention.ms", "604800000").as_deref(), Some("7d"));
        assert_eq!(
            words("segment.bytes", "1073741824").as_deref(),
            Some("1.1 GB")
        );
        assert_eq!(words("retention.ms", "-1"), None);
        assert_eq!(words("cleanup.policy", "delete"), None);
    }
}
