//! The range assignor: of each topic, neighbouring partitions to each member, in the order of ids.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::offsets::NamedPartition;

/// Deals out the partitions of each topic to the members that subscribe to it. `members` are ids
/// and subscribed topics, `partitions` the number of partitions of each topic.
pub(crate) fn assign_ranges(
    members: &BTreeMap<String, Vec<Rc<str>>>,
    partitions: &BTreeMap<Rc<str>, i32>,
) -> BTreeMap<String, Vec<NamedPartition>> {
    let mut assignments: BTreeMap<String, Vec<NamedPartition>> = members
        .keys()
        .map(|member| (member.clone(), Vec::new()))
        .collect();
    for (topic, count) in partitions {
        let subscribed: Vec<&String> = members
            .iter()
            .filter(|(_, topics)| topics.contains(topic))
            .map(|(member, _)| member)
            .collect();
        let Ok(sharers) = i32::try_from(subscribed.len()) else {
            continue;
        };
        if sharers == 0 {
            continue;
        }
        let (each, extra) = (count / sharers, count % sharers);
        let mut next = 0;
        for (index, member) in (0..).zip(subscribed) {
            let share = each + i32::from(index < extra);
            let range = (next..next + share).map(|partition| (topic.clone(), partition));
            assignments.entry(member.clone()).or_default().extend(range);
            next += share;
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_members_get_the_remainder() {
        let members = ["a", "b", "c"]
            .map(|member| (member.to_owned(), vec![Rc::from("t")]))
            .into();
        let assignments = assign_ranges(&members, &[(Rc::from("t"), 7)].into());
        let numbers = |member: &str| -> Vec<i32> {
            assignments[member]
                .iter()
                .map(|(_, index)| *index)
                .collect()
        };
        assert_eq!(numbers("a"), [0, 1, 2]);
        assert_eq!(numbers("b"), [3, 4]);
        assert_eq!(numbers("c"), [5, 6]);
    }

    #[test]
    fn only_subscribers_get_a_topic() {
        let members = [
            ("a".to_owned(), vec![Rc::from("t")]),
            ("b".to_owned(), vec![Rc::from("t"), Rc::from("u")]),
            ("c".to_owned(), vec![]),
        ]
        .into();
        let partitions = [(Rc::from("t"), 1), (Rc::from("u"), 2)].into();
        let assignments = assign_ranges(&members, &partitions);
        assert_eq!(assignments["a"], [(Rc::from("t"), 0)]);
        assert_eq!(assignments["b"], [(Rc::from("u"), 0), (Rc::from("u"), 1)]);
        assert!(assignments["c"].is_empty());
    }
}
