//! What every checked text of a manifest has in common.

/// A tuple struct around a text that can only be made by parsing, with the bounds that the JSON Schema shows.
///
/// The pattern tells editors what parsing checks; it may be looser, never stricter.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident { length: $max:literal, pattern: $pattern:literal, says: $says:literal }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({
                    "type": "string",
                    "description": $says,
                    "maxLength": $max,
                    "pattern": $pattern
                })
            }
        }
    };
}

pub(crate) use text_type;
