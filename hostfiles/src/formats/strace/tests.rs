use super::*;
use crate::out::Interest;
use crate::read::{HostFiles, Source};
use analyzer::Endpoint;

fn shown(end: Option<Endpoint>) -> String {
    end.map(|end| end.to_string()).unwrap_or_default()
}

fn traced(text: &str) -> Vec<TracedSocket> {
    let source = Source::Bytes("s".to_owned(), text.as_bytes().to_vec());
    let files = HostFiles::of(vec![source], &std::collections::BTreeMap::new(), &|_, _| {
        Interest::Sure
    });
    assert_eq!(files.files[0].kind, Kind::Strace);
    files.facts.traced
}

#[test]
fn a_client_that_lingers_zero_seconds() {
    let all = traced(
        "12 15:02:54.324546 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3\n\
         12 15:02:54.324756 connect(3, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr(\"10.9.0.2\")}, 16) = 0\n\
         12 15:02:54.325427 sendto(3, \"GET\", 18, 0, NULL, 0) = 18\n\
         12 15:02:54.325584 recvfrom(3, \"HTTP\", 100, 0, NULL, NULL) = 19\n\
         12 15:02:55.370556 setsockopt(3, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=0}, 8) = 0\n\
         12 15:02:56.870814 close(3)          = 0\n",
    );
    let one = &all[0];
    assert_eq!(shown(one.peer), "10.9.0.2:8080");
    let linger = one.linger.unwrap();
    assert!(linger.on && linger.seconds == 0 && linger.place.at.line == 5);
    assert_eq!(one.closed.unwrap().at.line, 6);
    assert_eq!((one.bytes_read, one.bytes_written), (19, 18));
}

#[test]
fn threads_share_and_interrupted_calls_are_joined() {
    let all = traced(
        "1 1796050973.1 bind(3<TCP:[29455]>, {sa_family=AF_INET, sin_port=htons(8080), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0\n\
         1 1796050973.2 accept4(3<TCP:[0.0.0.0:8080]>, {sa_family=AF_INET, sin_port=htons(52472), sin_addr=inet_addr(\"10.9.0.1\")}, [16], SOCK_CLOEXEC) = 5<TCP:[10.9.0.2:8080->10.9.0.1:52472]>\n\
         1 1796050973.3 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD} <unfinished ...>\n\
         1 1796050973.4 <... clone3 resumed> => {parent_tid=[2]}, 88) = 2\n\
         2 1796050973.5 recvfrom(5<TCP:[10.9.0.2:8080->10.9.0.1:52472]>,  <unfinished ...>\n\
         2 1796050973.6 <... recvfrom resumed>\"GET\", 4096, 0, NULL, NULL) = 18\n\
         2 1796050973.7 close(5<TCP:[10.9.0.2:8080->10.9.0.1:52472]>) = 0\n",
    );
    assert_eq!(all.len(), 2);
    let one = &all[0];
    assert_eq!(
        (shown(one.local).as_str(), one.pid),
        ("10.9.0.2:8080", Some(1))
    );
    assert_eq!(one.reads[0].place.at.line, 6);
    assert_eq!(one.closed.unwrap().at.line, 7);
    assert_eq!(one.opening, Opening::Accept);
}

#[test]
fn a_fork_keeps_the_socket_open() {
    let all = traced(
        "[pid 1] bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"10.9.0.2\")}, 16) = 0\n\
         [pid 1] accept(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"10.9.0.1\")}, [16]) = 4\n\
         [pid 1] clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD) = 9\n\
         [pid 1] close(4) = 0\n\
         [pid 9] read(4, \"abc\", 10) = 3\n\
         [pid 9] +++ exited with 0 +++\n",
    );
    let one = all.iter().find(|one| one.peer.is_some()).unwrap();
    assert_eq!(one.bytes_read, 3);
    assert_eq!(one.closed.unwrap().at.line, 6);
    assert_eq!(shown(one.local), "10.9.0.2:80");
}

#[test]
fn a_datagram_that_fills_its_buffer() {
    let all = traced(
        "recvfrom(4<UDP:[0.0.0.0:5300]>, \"x\"..., 1024, 0, {sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr(\"10.9.0.1\")}, [16]) = 1024\n\
         recvmsg(4<UDP:[0.0.0.0:5300]>, {msg_name=NULL, msg_iov=[{iov_base=\"x\"..., iov_len=1024}], msg_iovlen=1, msg_controllen=0, msg_flags=MSG_TRUNC}, 0) = 1024\n",
    );
    let one = &all[0];
    assert_eq!(one.filled.unwrap().asked, 1024);
    assert_eq!(one.cut.unwrap().at.line, 2);
    assert_eq!(shown(one.local), "0.0.0.0:5300");
}
