//! The settings as people read them: `millstreamd --list-settings`, and the page
//! `docs/configuration.md`. Both are made from the table of keys alone.

use std::fmt::{self, Display, Write as _};

use crate::config::{
    GroupKey, Key, Kind, Status, TopicKey, broker_keys, client_metrics_keys, group_keys,
    is_dynamic, topic_keys,
};

/// What the page says before its tables.
const INTRODUCTION: &str = "\
# Configuration

Every setting there is, by Kafka's names where Kafka has one. This page is made by \
`millstreamd --list-settings=markdown` from the table that the daemon itself goes by, and a test \
compares them.

## Where a value comes from

The strongest first:

1. a setting of the topic, for what belongs to topics;
2. a setting given to this node while it runs (`kafka-configs --entity-type brokers --entity-name \
1`);
3. a setting given to all brokers while they run (`kafka-configs --entity-type brokers \
--entity-default`);
4. `millstreamd --set KEY=VALUE`, which may be given many times;
5. the file of `millstreamd --config FILE`, in the format of Kafka's `server.properties`;
6. the default.

Settings given while the node runs are kept in its metadata and survive a restart. In the tables, \
*running* marks what can be given so; the rest is read at the *start*. Where several settings say \
the same in other units (`log.retention.ms`, `.minutes`, `.hours`), the first that is given \
counts, in that order.

A name that neither Kafka nor Millstream knows, or a value out of its bounds, stops the start with \
a message that says what to write.
";

/// The page `docs/configuration.md`.
pub fn settings_page() -> String {
    let mut page = Page(INTRODUCTION.to_owned());
    page.section(
        "Settings of topics",
        "Given when a topic is made (`--config`) or later. A topic without one goes by the broker's \
         setting, the first of those named that was given.",
        &["Setting", "Values", "Default", "Broker's setting", "What it does"],
    );
    for TopicKey { key, synonyms } in topic_keys() {
        let synonyms: Vec<_> = synonyms.iter().map(|name| format!("`{name}`")).collect();
        page.row(&[
            &name(key),
            &Values(key.kind),
            &Default(key),
            &synonyms.join(", "),
            &Effect(key),
        ]);
    }
    page.section(
        "Settings of groups",
        "Given to a group by its name (`kafka-configs --entity-type groups --entity-name GROUP`), \
         whether it has members or not. They are kept and checked against the broker's bounds.",
        &[
            "Setting",
            "Values",
            "Default",
            "Broker's setting",
            "What it does",
        ],
    );
    for GroupKey { key, broker } in group_keys() {
        let broker = broker.map_or_else(String::new, |name| format!("`{name}`"));
        page.row(&[
            &name(key),
            &Values(key.kind),
            &Default(key),
            &broker,
            &Effect(key),
        ]);
    }
    page.section(
        "Settings of subscriptions to clients' metrics",
        "Given to a subscription by its name (`kafka-client-metrics`, or `kafka-configs \
         --entity-type client-metrics`).",
        &["Setting", "Values", "Default", "What it does"],
    );
    for key in client_metrics_keys() {
        page.row(&[&name(key), &Values(key.kind), &Default(key), &Effect(key)]);
    }
    page.section(
        "Settings of brokers that work",
        "They do what is said of them.",
        &["Setting", "Values", "Default", "Read", "What it does"],
    );
    for key in sorted(Status::Works) {
        page.row(&[
            &name(key),
            &Values(key.kind),
            &Default(key),
            &Read(key),
            &key.text,
        ]);
    }
    page.section(
        "Settings of brokers that are taken and have no effect",
        "Kafka has them, and a file that names them is accepted; the log has a line for each that is \
         given another value than its default.",
        &["Setting", "Values", "Default", "Why"],
    );
    for key in sorted(Status::Accepted) {
        page.row(&[&name(key), &Values(key.kind), &Default(key), &key.text]);
    }
    page.section(
        "Settings of brokers that are refused",
        "Kafka has them, and they ask for something that is not there: any other value than the \
         default stops the start. So does every `listener.name.….ssl.…` and \
         `listener.name.….sasl.…`.",
        &["Setting", "Values", "Default", "Why"],
    );
    for key in sorted(Status::Refused) {
        page.row(&[&name(key), &Values(key.kind), &Default(key), &key.text]);
    }
    page.0
}

/// The settings for a terminal.
pub fn settings_text() -> String {
    let mut text = String::new();
    let mut entry = |key: &Key, more: &dyn Display| {
        let (default, values, effect) = (plain_default(key), Values(key.kind), Effect(key));
        writeln!(
            text,
            "{} = {default}\n    {values}; {more}\n    {effect}",
            key.name
        )
        .expect("a string takes what is written");
    };
    let mut keys: Vec<_> = broker_keys().collect();
    keys.sort_by_key(|key| key.name);
    for key in keys {
        let read = if is_dynamic(key.name) {
            "also while it runs"
        } else {
            "at the start"
        };
        entry(key, &format_args!("for brokers, {read}"));
    }
    for TopicKey { key, synonyms } in topic_keys() {
        match synonyms {
            [] => entry(key, &"for topics"),
            names => entry(key, &format_args!("for topics; else {}", names.join(", "))),
        }
    }
    for GroupKey { key, broker } in group_keys() {
        match broker {
            None => entry(key, &"for groups"),
            Some(name) => entry(key, &format_args!("for groups; else {name}")),
        }
    }
    for key in client_metrics_keys() {
        entry(key, &"for subscriptions to clients' metrics");
    }
    text
}

/// The broker keys of which this becomes, in order of their names.
fn sorted(status: Status) -> Vec<&'static Key> {
    let mut keys: Vec<_> = broker_keys().filter(|key| key.status == status).collect();
    keys.sort_by_key(|key| key.name);
    keys
}

/// A page of Markdown.
struct Page(String);

impl Page {
    /// Begins a section with a table.
    fn section(&mut self, title: &str, words: &str, columns: &[&str]) {
        self.line(format_args!("\n## {title}\n\n{words}\n"));
        self.line(format_args!("| {} |", columns.join(" | ")));
        self.line(format_args!("|{}", " --- |".repeat(columns.len())));
    }

    fn row(&mut self, cells: &[&dyn Display]) {
        let cells: Vec<_> = cells
            .iter()
            .map(|cell| cell.to_string().replace('|', "\\|"))
            .collect();
        self.line(format_args!("| {} |", cells.join(" | ")));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes what is written");
    }
}

fn name(key: &Key) -> String {
    format!("`{}`", key.name)
}

fn plain_default(key: &Key) -> &'static str {
    match key.default {
        None => "(none)",
        Some("") => "(empty)",
        Some(value) => value,
    }
}

/// A key's default, in Markdown.
struct Default<'a>(&'a Key);

impl Display for Default<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.default {
            None => f.write_str("none"),
            Some("") => f.write_str("empty"),
            Some(value) => write!(f, "`{value}`"),
        }
    }
}

/// When a broker key is read.
struct Read<'a>(&'a Key);

impl Display for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if is_dynamic(self.0.name) {
            "running"
        } else {
            "start"
        })
    }
}

/// What a key does, or why it does nothing.
struct Effect<'a>(&'a Key);

impl Display for Effect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.status {
            Status::Works => {}
            Status::Accepted => f.write_str("Has no effect: ")?,
            Status::Refused => f.write_str("Refused but for its default: ")?,
        }
        f.write_str(self.0.text)
    }
}

/// What the values of a key look like.
struct Values(Kind);

impl Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bounded = |kind: &str, min: Option<i64>, max: Option<i64>| match (min, max) {
            (None, None) => f.write_str(kind),
            (Some(min), None) => write!(f, "{kind}, at least {min}"),
            (None, Some(max)) => write!(f, "{kind}, at most {max}"),
            (Some(min), Some(max)) => write!(f, "{kind}, {min} to {max}"),
        };
        match self.0 {
            Kind::Boolean => f.write_str("true or false"),
            Kind::Short(min, max) => bounded(
                "int16",
                (min > i16::MIN).then_some(min.into()),
                (max < i16::MAX).then_some(max.into()),
            ),
            Kind::Int(min, max) => bounded(
                "int32",
                (min > i32::MIN).then_some(min.into()),
                (max < i32::MAX).then_some(max.into()),
            ),
            Kind::Long(min, max) => bounded(
                "int64",
                (min > i64::MIN).then_some(min),
                (max < i64::MAX).then_some(max),
            ),
            Kind::Double(f64::MIN, f64::MAX) => f.write_str("number"),
            Kind::Double(min, max) => write!(f, "number, {min} to {max}"),
            Kind::Text => f.write_str("text"),
            Kind::OneOf(words) => f.write_str(&words.join(", ")),
            Kind::List => f.write_str("list"),
            Kind::ListOf(words) => write!(f, "list of {}", words.join(", ")),
            Kind::Class => f.write_str("Java class"),
            Kind::Password => f.write_str("secret"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tell_every_key() {
        let (page, text) = (settings_page(), settings_text());
        let topic = topic_keys().iter().map(|key| &key.key);
        let group = group_keys().iter().map(|key| &key.key);
        let all = broker_keys().chain(topic).chain(group);
        for key in all.chain(client_metrics_keys()) {
            assert!(
                page.contains(&format!("| `{}` |", key.name)),
                "{}",
                key.name
            );
            assert!(text.contains(&format!("\n{} = ", key.name)) || text.starts_with(key.name));
            assert!(text.contains(key.text), "{}", key.name);
        }
    }

    #[test]
    fn values_are_told_with_their_bounds() {
        let told = |kind| Values(kind).to_string();
        assert_eq!(told(Kind::INT), "int32");
        assert_eq!(told(Kind::Int(1, i32::MAX)), "int32, at least 1");
        assert_eq!(told(Kind::Long(-1, 9)), "int64, -1 to 9");
        assert_eq!(told(Kind::Double(0.0, 1.0)), "number, 0 to 1");
        assert_eq!(told(Kind::ListOf(&["a", "b"])), "list of a, b");
    }
}
