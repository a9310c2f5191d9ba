//! The last set as bytes of a file. It holds private keys: whoever writes it gives it mode 0600.

use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    MAX_SET_BYTES, MAX_UNITS, PROTOCOL,
    message::{from_proto, to_proto},
    proto,
    set::UnitSet,
};

/// Why a stored set cannot be used. The proxy then waits for a controller.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    #[error("it is not a stored set")]
    Foreign,
    #[error("it is damaged")]
    Damaged,
    #[error("it is too large")]
    TooLarge,
    #[error("it is of protocol {0}, which this proxy does not speak")]
    Protocol(u32),
}

pub fn save(units: &UnitSet) -> Vec<u8> {
    let set = proto::StoredSet {
        protocol: PROTOCOL,
        units: units.values().map(to_proto).collect(),
    };
    let content = set.encode_to_vec();
    let mut file = Vec::with_capacity(MAGIC.len() + HASH_BYTES + content.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&Sha256::digest(&content));
    file.extend_from_slice(&content);
    file
}

/// # Errors
/// [`LoadError`]; a file that was cut short or changed is never taken in part.
pub fn load(file: &[u8]) -> Result<UnitSet, LoadError> {
    let rest = file.strip_prefix(MAGIC).ok_or(LoadError::Foreign)?;
    let (hash, content) = rest
        .split_at_checked(HASH_BYTES)
        .ok_or(LoadError::Damaged)?;
    if content.len() > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge);
    }
    if Sha256::digest(content).as_slice() != hash {
        return Err(LoadError::Damaged);
    }
    let set = proto::StoredSet::decode(content).map_err(|_| LoadError::Damaged)?;
    if set.protocol != PROTOCOL {
        return Err(LoadError::Protocol(set.protocol));
    }
    if set.units.len() > MAX_UNITS {
        return Err(LoadError::TooLarge);
    }
    let units = set.units.into_iter().map(from_proto);
    Ok(units
        .map(|unit| (unit.key.clone(), Arc::new(unit)))
        .collect())
}

const MAGIC: &[u8] = b"portcullis set 1\n";
const HASH_BYTES: usize = 32;
/// Bodies and their names.
const MAX_FILE_BYTES: usize = MAX_SET_BYTES + (64 << 20);
