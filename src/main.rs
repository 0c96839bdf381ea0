//! The program `pcapdoc`; see the library beside it.

/// Connections come and go by the hundred thousand; the C library's allocator takes a third of
/// the time then.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pcapdoc::main()
}
