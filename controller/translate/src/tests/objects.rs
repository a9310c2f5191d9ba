//! Objects as YAML, and generated certificates for Secrets that ask for one.

use k8s_openapi::ByteString;
use rcgen::{CertificateParams, KeyPair};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Change, Object};

pub(super) fn put(value: Value) -> Change {
    Change::Put(object(value))
}

pub(super) fn object(value: Value) -> Object {
    let kind = value["kind"].as_str().expect("a kind").to_owned();
    match kind.as_str() {
        "Ingress" => Object::Ingress(read(value)),
        "IngressClass" => Object::IngressClass(read(value)),
        "Service" => Object::Service(read(value)),
        "EndpointSlice" => Object::EndpointSlice(read(value)),
        "Secret" => Object::Secret(secret(value)),
        "Pod" => Object::Pod(read(value)),
        "Node" => Object::Node(read(value)),
        other => panic!("kind {other} is not watched"),
    }
}

fn read<T: DeserializeOwned>(value: Value) -> Box<T> {
    let text = value.to_string();
    Box::new(serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// `certificateFor: [names]` makes a certificate; `keyOfAnother: true` gives it a foreign key.
fn secret(mut value: Value) -> Box<k8s_openapi::api::core::v1::Secret> {
    let fields = value.as_object_mut().expect("an object");
    let names = fields.remove("certificateFor");
    let foreign = fields.remove("keyOfAnother").is_some();
    let mut secret: Box<k8s_openapi::api::core::v1::Secret> = read(value);
    if let Some(names) = names {
        let names: Vec<String> = serde_json::from_value(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.self_signed(&key).expect("a certificate");
        let other = KeyPair::generate().expect("a key");
        let pem = if foreign { other } else { key }.serialize_pem();
        let data = secret.data.get_or_insert_default();
        data.insert("tls.crt".to_owned(), ByteString(certificate.pem().into()));
        data.insert("tls.key".to_owned(), ByteString(pem.into()));
    }
    secret
}
