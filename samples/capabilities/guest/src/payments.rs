//! secrets: what only this call may know.

use crate::Problem;
use crate::annex::host::secrets;

pub fn pay() -> Result<String, Problem> {
    // The key `token` of the Secret `payments`, which the Install has in `spec.secrets`.
    let token = match secrets::get("payments", "token") {
        Ok(token) => token,
        Err(secrets::Error::NotGranted | secrets::Error::NotFound) => {
            return Err(Problem::new(
                424,
                "not set up: the Install needs a Secret `payments` with a `token`",
            ));
        }
        Err(secrets::Error::Unavailable) => return Err(Problem::new(503, "try again later")),
    };
    // What may be said of it: nothing of what is in it.
    Ok(format!("paid with a token of {} bytes", token.len()))
}
