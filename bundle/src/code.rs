//! The short word by which a program knows a refusal.

/// Gives an error enum its codes: one for each variant, or that of the error inside.
///
/// The match has no catch-all: a variant without a code does not compile, and the page of all codes is tested against
/// `CODES`.
macro_rules! codes {
    ($error:ident { $($variant:ident => $code:literal),* $(,)? } $(inside { $($wrapped:ident),+ $(,)? })?) => {
        impl $error {
            /// Every code that this error adds to those of the errors inside it.
            pub const CODES: &'static [&'static str] = &[$($code),*];

            /// The code of this refusal. It never changes, the message may.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                    $($(Self::$wrapped(inner) => inner.code(),)+)?
                }
            }
        }
    };
}

pub(crate) use codes;
