//! Continue tokens (`storage/continue.go`).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::error::ApiError;

/// Where the next page of a list starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    /// The version all pages show; `None` once that was compacted away and pages show the present.
    pub resource_version: Option<u64>,
    /// First key of the page, relative to the list's prefix.
    pub start: String,
}

impl PageToken {
    /// # Errors
    /// 400 for what this server did not make.
    pub fn parse(token: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::BadRequest("continue key is not valid".to_owned());
        let bytes = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|_| bad())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if value["v"] != "meta.k8s.io/v1" {
            return Err(bad());
        }
        let start = value["start"].as_str().ok_or_else(bad)?;
        // A start that climbs out of the prefix would show other collections.
        if start.is_empty()
            || start.split('/').any(|s| matches!(s, "." | ".."))
            || start.starts_with('/')
        {
            return Err(bad());
        }
        let version = value["rv"].as_i64().ok_or_else(bad)?;
        if version == 0 {
            return Err(bad());
        }
        Ok(Self {
            resource_version: u64::try_from(version).ok(),
            start: start.to_owned(),
        })
    }

    pub fn encode(&self) -> String {
        let version = match self.resource_version {
            Some(version) => json!(version),
            None => json!(-1),
        };
        let value = json!({"v": "meta.k8s.io/v1", "rv": version, "start": self.start});
        URL_SAFE_NO_PAD.encode(value.to_string())
    }
}
