//! A setting as DescribeConfigs tells it.

use millstream_protocol::messages::DescribeConfigsRequest;
use millstream_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};

use super::text;
use super::topic_settings::Setting;
use crate::config::{Kind, Source, Synonym};

/// A setting as it is told.
pub(super) struct Described {
    /// Its name.
    pub name: String,
    /// The value in force.
    pub value: Option<String>,
    /// Whether it cannot be changed while the node runs.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: Source,
    /// Whether values are not shown.
    pub secret: bool,
    /// All values there are, the strongest first.
    pub synonyms: Vec<Synonym>,
    /// What values look like, by Kafka's numbers.
    pub kind: i8,
    /// What it means.
    pub text: Option<&'static str>,
}

impl Described {
    /// The kind of what is in no table.
    pub const UNKNOWN_KIND: i8 = 0;

    /// A setting that can be changed. The value in force is told as Kafka writes it, and so is
    /// what the resource has of its own, which has `own` for its source; others are told as they
    /// were given.
    pub fn of(setting: Setting, own: Source) -> Described {
        let kind = setting.key.kind;
        let synonyms = setting.synonyms.into_iter().map(|synonym| Synonym {
            value: if synonym.source == own {
                kind.normalise(&synonym.value)
            } else {
                synonym.value
            },
            ..synonym
        });
        Described {
            name: setting.key.name.to_owned(),
            value: setting.value.map(|value| kind.normalise(&value)),
            read_only: false,
            source: setting.source,
            secret: kind == Kind::Password,
            synonyms: synonyms.collect(),
            kind: kind.protocol_code(),
            text: Some(setting.key.text),
        }
    }

    /// As the answer to this request has it.
    pub fn answer(self, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
        let shown = |value: String| (!self.secret).then(|| text(value));
        let answer = DescribeConfigsResourceResult::default()
            .with_name(text(self.name))
            .with_value(self.value.and_then(shown))
            .with_read_only(self.read_only)
            .with_config_source(self.source.protocol_code())
            .with_is_sensitive(self.secret)
            .with_config_type(self.kind);
        let answer = if request.include_synonyms {
            let synonyms = self.synonyms.into_iter().map(|synonym| {
                DescribeConfigsSynonym::default()
                    .with_name(text(synonym.name))
                    .with_value(shown(synonym.value))
                    .with_source(synonym.source.protocol_code())
            });
            answer.with_synonyms(synonyms.collect())
        } else {
            answer
        };
        let documentation = self.text.filter(|_| request.include_documentation);
        answer.with_documentation(documentation.map(text))
    }
}
