//! One member of a classic group.

use bytes::Bytes;
use millstream_protocol::StrBytes;
use millstream_protocol::messages::JoinGroupRequest;

use crate::request::{RequestContext, RequestToken};
use crate::retained::{retained, retained_bytes};

/// A JoinGroup that waits for the end of the join phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AwaitedJoin {
    pub(crate) token: RequestToken,
    pub(crate) api_version: i16,
}

/// A protocol a member supports; members list them by preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: StrBytes,
    pub(crate) metadata: Bytes,
}

/// What a member says of itself with every JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberTerms {
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Vec<Protocol>,
}

#[derive(Debug)]
pub(crate) struct ClassicMember {
    pub(crate) member_id: StrBytes,
    pub(crate) group_instance_id: Option<StrBytes>,
    pub(crate) client_id: StrBytes,
    pub(crate) client_host: StrBytes,
    pub(crate) terms: MemberTerms,
    pub(crate) assignment: Bytes,
    /// Not yet in a generation. Its session is then watched even while its JoinGroup waits.
    pub(crate) is_new: bool,
    pub(crate) awaiting_sync: Option<RequestToken>,
    /// The group counts these, so only the group changes it.
    pub(super) awaiting_join: Option<AwaitedJoin>,
}

impl MemberTerms {
    pub(crate) fn from_request(request: &JoinGroupRequest) -> MemberTerms {
        let protocols = request.protocols.iter().map(|protocol| Protocol {
            name: retained(&protocol.name),
            metadata: retained_bytes(&protocol.metadata),
        });
        MemberTerms {
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: protocols.collect(),
        }
    }
}

impl ClassicMember {
    pub(crate) fn new(
        member_id: StrBytes,
        group_instance_id: Option<StrBytes>,
        context: &RequestContext,
        terms: MemberTerms,
    ) -> ClassicMember {
        ClassicMember {
            member_id,
            group_instance_id,
            client_id: retained(&context.client_id),
            client_host: retained(&context.client_host),
            terms,
            assignment: Bytes::new(),
            is_new: true,
            awaiting_sync: None,
            awaiting_join: None,
        }
    }

    pub(crate) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    pub(crate) fn awaiting_join(&self) -> Option<AwaitedJoin> {
        self.awaiting_join
    }

    /// A member whose request waits here cannot send heartbeats, and need not.
    pub(crate) fn is_excused_from_heartbeats(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub(crate) fn metadata(&self, protocol_name: &StrBytes) -> Option<&Bytes> {
        let mut protocols = self.terms.protocols.iter();
        protocols
            .find(|protocol| protocol.name == *protocol_name)
            .map(|found| &found.metadata)
    }

    /// The first of the member's protocols that all members support.
    pub(crate) fn vote(&self, is_candidate: impl Fn(&StrBytes) -> bool) -> Option<&StrBytes> {
        self.terms
            .protocols
            .iter()
            .map(|protocol| &protocol.name)
            .find(|name| is_candidate(name))
    }
}
