//! Replays the fuzzing corpus of the handlers.

#[path = "../../../fuzz/src/broker.rs"]
mod broker;
#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;

#[test]
fn handlers() {
    corpus::replay("handlers", |_, data| broker::handlers(data));
}
