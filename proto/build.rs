//! Compiles the `.proto` files with protox, which is written in Rust: a fresh machine needs no `protoc`.

#[allow(clippy::print_stdout, reason = "a build script speaks to cargo on its standard output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=anvil");
    let files = protox::compile(["anvil/peer/v1/peer.proto", "anvil/peer/v1/join.proto"], ["."])?;
    // `bytes` fields share the buffer of the message that they were decoded from.
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}
