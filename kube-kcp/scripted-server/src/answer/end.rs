use crate::{
    fault::End,
    network::{Close, Control},
};

use super::body::CutOff;

/// Ends an answer in this way, after what was sent of it. Nothing means that it is complete.
pub(super) async fn end(how: End, connection: &Control) -> Option<CutOff> {
    match how {
        End::Complete => return None,
        End::Broken => return Some(CutOff),
        End::Closed => connection.close_when_flushed(Close::Notified),
        End::Unnotified => connection.close_when_flushed(Close::Unnotified),
        End::Reset => connection.close_when_flushed(Close::Reset),
        End::Silence => {}
    }
    std::future::pending().await
}
