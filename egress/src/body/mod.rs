//! The bodies of both directions, each with its bounds. Trailers are taken off: whoever reads a head has vetted it, and nobody
//! vets what comes after a body.

mod incoming;
mod outgoing;

pub(crate) use incoming::IncomingBody;
pub(crate) use outgoing::OutgoingBody;
