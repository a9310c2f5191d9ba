//! Generators of committed tables and code; the house rules as tests.
//!
//! Owns: what is derived from upstream's packages and committed. Does not own: anything that runs in a product.
//! Entry point: `cargo run -p portcullis-xtask -- <task>`.

mod chart;
mod proto_cri;
mod proto_wire;
mod schema;
mod schema_go;
mod schema_json;
mod schema_proto;
mod schema_table;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("chart") => chart::generate(),
        Some("proto-cri") => proto_cri::generate(),
        Some("proto-wire") => proto_wire::generate(),
        Some("schema") => schema::generate(),
        other => {
            anyhow::bail!("unknown task {other:?}; tasks: chart, proto-cri, proto-wire, schema")
        }
    }
}
