//! The controller's shell: its log on disk, the task that drives it, and how shards reach it.
//!
//! The controller runs on a reactor of its own. Shards ask through a [`ControllerHandle`], which
//! may be cloned and moved to any thread, and learn of changes through an [`ImageReceiver`] each.

mod handle;

pub use handle::{
    ControllerHandle, ControllerInbox, ImageReceiver, Publication, PublicationSender, channels,
};
