//! Images on their way to the shards.

use std::sync::Arc;

use millstream_metadata::{Delta, Image};

use super::handle::{Publication, PublicationSender};

/// Sends each image to each shard. For a shard without room, what comes is merged into one
/// publication, which is sent when there is.
pub(super) struct Publisher {
    shards: Vec<Shard>,
}

struct Shard {
    sender: PublicationSender,
    backlog: Option<(Arc<Image>, Delta)>,
}

impl Publisher {
    pub(super) fn new(senders: Vec<PublicationSender>) -> Publisher {
        let shards = senders
            .into_iter()
            .map(|sender| Shard {
                sender,
                backlog: None,
            })
            .collect();
        Publisher { shards }
    }

    /// Sends an image, or keeps it for later.
    pub(super) fn publish(&mut self, image: &Arc<Image>, delta: &Arc<Delta>) {
        for shard in &mut self.shards {
            match &mut shard.backlog {
                Some((latest, merged)) => {
                    *latest = image.clone();
                    merged.merge(delta);
                }
                None => {
                    let publication = Publication {
                        image: image.clone(),
                        delta: delta.clone(),
                    };
                    if shard.sender.try_send(publication).is_err() {
                        shard.backlog = Some((image.clone(), Delta::clone(delta)));
                    }
                }
            }
        }
        self.flush();
    }

    /// Sends what was kept, where there is room now.
    pub(super) fn flush(&mut self) {
        for shard in &mut self.shards {
            if let Some((image, delta)) = shard.backlog.take() {
                let publication = Publication {
                    image,
                    delta: Arc::new(delta),
                };
                if let Err(Publication { image, delta }) = shard.sender.try_send(publication) {
                    shard.backlog = Some((image, Arc::unwrap_or_clone(delta)));
                }
            }
        }
    }
}
