//! Label and field selectors as queries write them.

mod field;
mod label;

#[cfg(test)]
mod tests;

pub use field::FieldSelector;
pub use label::LabelSelector;
