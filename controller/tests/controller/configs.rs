//! Settings changed, and the codes of those that are not.

use millstream_controller::{
    AlterConfigsResource, ConfigAlteration, ControllerRequest, ControllerResponse,
};
use millstream_metadata::{ConfigResource, ResourceType};
use millstream_protocol::ErrorCode;

use crate::world::World;

fn set(value: &str) -> ConfigAlteration {
    ConfigAlteration::Set(Some(value.to_owned()))
}

fn append(value: &str) -> ConfigAlteration {
    ConfigAlteration::Append(Some(value.to_owned()))
}

fn subtract(value: &str) -> ConfigAlteration {
    ConfigAlteration::Subtract(Some(value.to_owned()))
}

type Change<'a> = (ConfigResource, Vec<(&'a str, ConfigAlteration)>);

fn alter(
    world: &mut World,
    changes: Vec<Change<'_>>,
    validate_only: bool,
) -> Vec<Option<ErrorCode>> {
    let resources = changes.into_iter().map(|(resource, alterations)| {
        let alterations = alterations.into_iter();
        AlterConfigsResource {
            resource,
            alterations: alterations
                .map(|(key, alteration)| (key.to_owned(), alteration))
                .collect(),
            replaces: false,
        }
    });
    let request = ControllerRequest::AlterConfigs {
        resources: resources.collect(),
        validate_only,
    };
    match world.ask(request) {
        ControllerResponse::AlterConfigs(results) => results
            .into_iter()
            .map(|resource| resource.result.err().map(|error| error.code))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn with_topic() -> (World, ConfigResource) {
    let mut world = World::of_three();
    world.topic("t", 1, 1);
    (world, ConfigResource::topic("t"))
}

fn value(world: &World, key: &str) -> Option<String> {
    world.image.topic_configs("t").get(key).cloned()
}

#[test]
fn values_are_set_and_taken_away() {
    let (mut world, t) = with_topic();
    let change = vec![(t.clone(), vec![("retention", set("7"))])];
    assert_eq!(alter(&mut world, change.clone(), false), [None]);
    assert_eq!(value(&world, "retention").as_deref(), Some("7"));
    assert_eq!(alter(&mut world, change, false), [None]);
    assert_eq!(world.records, [], "it has that value already");
    let change = vec![(t.clone(), vec![("retention", ConfigAlteration::Delete)])];
    assert_eq!(alter(&mut world, change.clone(), false), [None]);
    assert_eq!(value(&world, "retention"), None);
    assert_eq!(alter(&mut world, change, false), [None], "it has none");
    assert_eq!(world.records, []);
}

/// APPEND and SUBTRACT begin with the default, and never with an entry twice (semantics 3.15).
#[test]
fn entries_are_appended_to_and_subtracted_from_lists() {
    let (mut world, t) = with_topic();
    let mut change = |alteration| {
        let told = alter(
            &mut world,
            vec![(t.clone(), vec![("policy", alteration)])],
            false,
        );
        assert_eq!(told, [None]);
        value(&world, "policy").expect("set")
    };
    assert_eq!(change(append("compact")), "delete,compact");
    assert_eq!(change(append("compact,delete")), "delete,compact");
    assert_eq!(change(subtract("delete,absent")), "compact");
    assert_eq!(change(subtract("compact")), "");
    assert_eq!(change(append("delete")), "delete");
    let told = alter(
        &mut world,
        vec![(t, vec![("retention", append("7"))])],
        false,
    );
    assert_eq!(told, [Some(ErrorCode::InvalidConfig)], "it is no list");
}

#[test]
fn changes_that_cannot_be_are_refused_whole() {
    let (mut world, t) = with_topic();
    let (request, config) = (ErrorCode::InvalidRequest, ErrorCode::InvalidConfig);
    let long = "x".repeat(32_768);
    let resource = ConfigResource::new;
    let cases: Vec<(Change<'_>, ErrorCode)> = vec![
        (
            (
                t.clone(),
                vec![("retention", set("1")), ("unknown", set("1"))],
            ),
            config,
        ),
        ((t.clone(), vec![("retention", set("bad"))]), config),
        ((t.clone(), vec![("retention", set(&long))]), config),
        (
            (t.clone(), vec![("retention", ConfigAlteration::Set(None))]),
            request,
        ),
        (
            (t.clone(), vec![("policy", ConfigAlteration::Append(None))]),
            request,
        ),
        (
            (
                t.clone(),
                vec![("policy", ConfigAlteration::Subtract(None))],
            ),
            request,
        ),
        (
            (
                t.clone(),
                vec![("retention", set("1")), ("retention", set("2"))],
            ),
            request,
        ),
        (
            (
                ConfigResource::topic("absent"),
                vec![("retention", set("1"))],
            ),
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            (ConfigResource::topic("a/b"), vec![("retention", set("1"))]),
            ErrorCode::InvalidTopicException,
        ),
        (
            (ConfigResource::topic(""), vec![("retention", set("1"))]),
            request,
        ),
        (
            (
                resource(ResourceType::Broker, "9"),
                vec![("retention", set("1"))],
            ),
            ErrorCode::BrokerIdNotRegistered,
        ),
        (
            (
                resource(ResourceType::Broker, "-1"),
                vec![("retention", set("1"))],
            ),
            request,
        ),
        (
            (
                resource(ResourceType::Broker, "one"),
                vec![("retention", set("1"))],
            ),
            request,
        ),
        (
            (
                resource(ResourceType::Group, ""),
                vec![("retention", set("1"))],
            ),
            request,
        ),
    ];
    for (change, wanted) in cases {
        let told = alter(&mut world, vec![change.clone()], false);
        assert_eq!(told, [Some(wanted)], "{change:?}");
        assert_eq!(world.records, [], "{change:?}");
    }
}

#[test]
fn each_resource_of_a_request_is_changed_for_itself() {
    let (mut world, t) = with_topic();
    let brokers = ConfigResource::new(ResourceType::Broker, "");
    let change =
        |resource: &ConfigResource, to: &str| (resource.clone(), vec![("retention", set(to))]);
    let changes = vec![change(&brokers, "1"), change(&t, "bad")];
    let told = alter(&mut world, changes, false);
    assert_eq!(told, [None, Some(ErrorCode::InvalidConfig)]);
    assert_eq!(world.records.len(), 1);
    let invalid = Some(ErrorCode::InvalidRequest);
    let changes = vec![change(&t, "1"), change(&t, "2"), change(&brokers, "3")];
    let told = alter(&mut world, changes, false);
    assert_eq!(told, [invalid, invalid, None], "named twice");
    let told = alter(&mut world, vec![change(&t, "1")], true);
    assert_eq!(told, [None]);
    assert_eq!(world.records, [], "it is only validated");
}

/// AlterConfigs takes away what it does not name.
#[test]
fn replacing_takes_away_what_is_not_named() {
    let (mut world, t) = with_topic();
    let changes = vec![("retention", set("7")), ("policy", set("compact"))];
    alter(&mut world, vec![(t.clone(), changes)], false);
    let request = ControllerRequest::AlterConfigs {
        resources: vec![AlterConfigsResource {
            resource: t,
            alterations: vec![("retention".to_owned(), set("8"))],
            replaces: true,
        }],
        validate_only: false,
    };
    let ControllerResponse::AlterConfigs(results) = world.ask(request) else {
        panic!("answered with something else");
    };
    assert_eq!(results[0].result, Ok(()));
    assert_eq!(value(&world, "retention").as_deref(), Some("8"));
    assert_eq!(value(&world, "policy"), None);
}
