//! Request bodies of the generator: none, a small one, or many bytes from one shared chunk.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

const CHUNK: &[u8] = &[b'u'; 64 * 1024];

/// A body that is known before it is sent.
#[derive(Debug, Clone)]
pub enum Payload {
    /// No body.
    None,
    /// These bytes, once.
    Small(Bytes),
    /// That many bytes.
    Long(u64),
}

impl Payload {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Small(bytes) => bytes.len() as u64,
            Self::Long(left) => *left,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (data, rest) = match std::mem::replace(&mut *self, Self::None) {
            Self::None | Self::Long(0) => return Poll::Ready(None),
            Self::Small(bytes) => (bytes, Self::None),
            Self::Long(left) => {
                let now = left.min(CHUNK.len() as u64);
                (Bytes::from_static(CHUNK).slice(..now as usize), Self::Long(left - now))
            }
        };
        *self = rest;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
