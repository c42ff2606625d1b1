//! Writes Rust types for the messages in `protocol/proto`. Run by `protocol/generate`.

fn main() -> std::io::Result<()> {
    let protocol = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let proto = protocol.join("proto");
    let files = ["rpc.proto", "data.proto", "admin.proto", "ferrobase.proto"].map(|name| proto.join(name));
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(protocol.join("src/generated"))
        .compile_protos(&files, &[proto])
}
