use crate::{
    fault::End,
    network::{Close, Control},
};

use super::body::CutOff;

/// Ends an answer in this way, after what was sent of it. Nothing means that it is complete.
pub(super) async fn end(how: End, connection: &Control) -> Option<CutOff> {
    if matches!(how, End::Complete) {
        return None;
    }
    // HTTP forgets what it has yet to send when it ends in an error, and closing a connection does not wait either.
    connection.flushed().await;
    match how {
        End::Broken if connection.speaks_http2() => return Some(CutOff),
        End::Broken | End::Closed => connection.close(Close::Notified),
        End::Unnotified => connection.close(Close::Unnotified),
        End::Reset => connection.close(Close::Reset),
        End::Silence | End::Complete => {}
    }
    std::future::pending().await
}
