use annex_grant::{
    Base64Bytes, ExecuteRequest, ExecuteResponse, HttpRequest, RunnerError, RunnerErrorCode, SecretQuestion,
};
use serde_json::json;

fn request() -> serde_json::Value {
    json!({
        "context": {
            "request_id": "r", "tenant_id": "acme", "extension_id": "com.example.hello", "install_id": "uid",
            "content_hash": format!("sha256:{}", "0a".repeat(32)), "version": "1.2.3", "config": { "greeting": "hi" },
        },
        "http": {
            "method": "POST", "path": "/notes", "query": "a=b", "headers": [["accept", "*/*"], ["accept", "text/plain"]],
            "body_b64": "AAEC/w==",
        },
        "limits": { "timeout_ms": 1000, "memory_mb": 64, "fuel": 7 },
    })
}

#[test]
fn a_call_is_written_as_the_contract_has_it() {
    let read: ExecuteRequest = serde_json::from_value(request()).unwrap();
    assert_eq!(read.http.body_b64, Some(Base64Bytes(vec![0, 1, 2, 255])));
    assert_eq!(serde_json::to_value(&read).unwrap(), request());
    let least = HttpRequest {
        method: "GET".into(),
        path: "/".into(),
        query: None,
        headers: Vec::new(),
        body_b64: None,
    };
    assert_eq!(
        serde_json::to_value(least).unwrap(),
        json!({ "method": "GET", "path": "/", "headers": [] }),
        "what is absent is left out"
    );
}

#[test]
fn a_call_with_anything_else_in_it_is_none() {
    for (place, value) in [
        ("/context/content_hash", json!("sha256:0")),
        ("/context/tenant_id", json!("")),
        ("/context/tenant_id", json!("a\nb")),
        ("/http/body_b64", json!("AAEC/w")),
        ("/http/body_b64", json!("AAEC_w==")),
        ("/http/headers", json!([["accept"]])),
        ("/limits/timeout_ms", json!(-1)),
    ] {
        let mut request = request();
        *request.pointer_mut(place).unwrap() = value;
        assert!(serde_json::from_value::<ExecuteRequest>(request).is_err(), "{place}");
    }
    for part in ["/context", "/http", "/limits"] {
        let mut request = request();
        request.pointer_mut(part).unwrap().as_object_mut().unwrap().insert("more".into(), json!(1));
        assert!(serde_json::from_value::<ExecuteRequest>(request).is_err(), "{part}");
    }
    assert!(serde_json::from_value::<SecretQuestion>(json!({ "name": "a", "tenant": "b" })).is_err());
}

#[test]
fn bytes_are_not_printed_and_not_quoted() {
    assert_eq!(format!("{:?}", Base64Bytes(b"secret".to_vec())), "6 bytes");
    let error = serde_json::from_str::<Base64Bytes>("\"hunter2!!\"").unwrap_err().to_string();
    assert!(error.contains("base64") && !error.contains("hunter2"), "{error}");
}

#[test]
fn an_answer_may_have_more_than_is_known_here() {
    let answer: ExecuteResponse = serde_json::from_value(json!({ "status": 200, "fuel_used": 1 })).unwrap();
    assert_eq!(answer, ExecuteResponse { status: 200, headers: Vec::new(), body_b64: None });
}

#[test]
fn every_code_is_its_word_and_what_is_new_is_unknown() {
    for code in RunnerErrorCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        assert!((400..600).contains(&code.status()), "{code:?}");
    }
    let later: RunnerError = serde_json::from_value(json!({ "code": "OfTomorrow" })).unwrap();
    assert_eq!(later, RunnerError { code: RunnerErrorCode::Unknown, message: String::new() });
}
