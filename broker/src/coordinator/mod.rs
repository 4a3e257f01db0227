//! stub
#![allow(missing_docs)]
use std::rc::Rc;
use millstream_coordinator::{GroupRequest, GroupResponse, RequestContext};
use millstream_protocol::StrBytes;
use crate::shard::{Partition, Shard};
pub struct CoordinatorShell;
impl CoordinatorShell {
    pub fn start(_: &Rc<Shard>, _: &Rc<Partition>) -> Rc<CoordinatorShell> { Rc::new(CoordinatorShell) }
    pub async fn call(&self, _: RequestContext, _: GroupRequest) -> GroupResponse { unimplemented!() }
    pub fn unload(&self, _: millstream_protocol::ErrorCode) {}
    pub fn topic_deleted(&self, _: StrBytes) {}
}
