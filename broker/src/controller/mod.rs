//! The controller's shell: its log on disk, the task that drives it, and how shards reach it.
//!
//! The controller runs on a reactor of its own. Shards ask through a [`ControllerHandle`], which
//! may be cloned and moved to any thread, and learn of changes through an [`ImageReceiver`] each.

mod driver;
mod handle;
mod log_segment;
mod metadata_log;
mod publisher;

pub use driver::{ControllerError, run_controller};
pub use handle::{
    ControllerHandle, ControllerInbox, ImageReceiver, Publication, PublicationSender, channels,
};
pub use log_segment::SegmentDamage;
pub use metadata_log::{MetadataLog, MetadataLogError};
