use serde::{Deserialize, Serialize};

/// The body of every answer of a runner that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerError {
    /// What the gateway goes by.
    pub code: RunnerErrorCode,
    /// For the gateway's log. It goes no further, but for `CapabilityDenied`: there it is the capability's name.
    #[serde(default)]
    pub message: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal),+ $(,)?) => {
        /// Why a runner did not answer for the guest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum RunnerErrorCode {
            $($(#[$doc])* $name,)+
            /// One that a later runner has.
            #[serde(other)]
            Unknown,
        }

        impl RunnerErrorCode {
            /// All that a runner of this release has.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word, as JSON has it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                    Self::Unknown => "Unknown",
                }
            }

            /// The status that a runner answers with.
            #[must_use]
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)+
                    Self::Unknown => 500,
                }
            }
        }
    };
}

codes! {
    /// The request is no [`ExecuteRequest`](crate::ExecuteRequest), or asks the guest for what no request can be.
    MalformedRequest = 400,
    /// There is no grant, or one that is [refused](crate::Refusal); or the request says something else than it.
    GrantRefused = 401,
    /// The component imports what is not granted. The message is the capability's name.
    CapabilityDenied = 403,
    /// The request has more bytes than the runner takes.
    RequestTooLarge = 413,
    /// The bytes do not verify: signature, digest, denylist.
    VerificationFailed = 422,
    /// As many calls as may be are under way: of all, of this tenant or of this install. Comes with `retry-after`.
    Busy = 429,
    /// The guest trapped, or ended without an answer.
    GuestFailed = 500,
    /// The guest asked for more memory, table elements or resources than it may have.
    GuestLimit = 507,
    /// The guest's answer has more bytes or headers than may be.
    ResponseTooLarge = 502,
    /// The bundle cannot be had: neither cached nor from the registry.
    BundleUnavailable = 503,
    /// The runner ends, and takes no more.
    Draining = 503,
    /// The guest took longer than it may.
    Timeout = 504,
    /// A fault of the runner.
    Internal = 500,
}
