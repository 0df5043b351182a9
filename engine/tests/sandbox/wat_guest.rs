//! Guests of a few lines of WebAssembly, for what Rust does not write.

use bytes::Bytes;

/// A component whose handler is the function `handle` of a core module with these fields.
pub fn component(module: &str) -> Bytes {
    let text = format!(
        r#"(component
          (import "wasi:http/types@0.2.0" (instance $types
            (export "incoming-request" (type (sub resource)))
            (export "response-outparam" (type (sub resource)))))
          (alias export $types "incoming-request" (type $request))
          (alias export $types "response-outparam" (type $out))
          (core module $m {module})
          (core instance $i (instantiate $m))
          (func $handle (param "request" (own $request)) (param "response-out" (own $out))
            (canon lift (core func $i "handle")))
          (instance $handler (export "handle" (func $handle)))
          (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    binary(&text)
}

/// A handler that returns at once and does nothing.
pub const IDLE: &str = r#"(func (export "handle") (param i32 i32))"#;

/// A component that imports an empty instance of this name.
pub fn importing(name: &str) -> Bytes {
    binary(&format!(r#"(component (import "{name}" (instance)))"#))
}

pub fn binary(text: &str) -> Bytes {
    wat::parse_str(text).unwrap().into()
}
