//! A keeper against peers that are no good runners: whatever they say, it is a bounded error, it ends them, and their runs
//! learn of it.

use super::*;
use opsward_core::run::{HostReply, LogLevel, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CONFIGURATION: u64 = 7;

/// A link to a peer that has said this, and the peer's end.
async fn greeted(first: &[u8]) -> (Result<Arc<Link>, RunnerError>, UnixStream) {
    // The process is there to be ended; the other end of the socket is the test's.
    let (child, _) = child::start(Path::new("/bin/true")).await.expect("started");
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()
        .and_then(|(ours, theirs)| {
            theirs.set_nonblocking(true)?;
            Ok((ours, UnixStream::from_std(theirs)?))
        })
        .expect("a socket");
    theirs.write_all(first).await.expect("written");
    (Link::greet(child, ours, Limits::default(), CONFIGURATION).await, theirs)
}

fn ready() -> ToKeeper {
    ToKeeper::Ready { version: VERSION, configuration: CONFIGURATION, confined: Vec::new() }
}

fn framed(messages: &[ToKeeper]) -> Vec<u8> {
    messages.iter().flat_map(|one| frame::message(one).expect("short")).collect()
}

fn log(id: u64) -> ToKeeper {
    ToKeeper::Ask { id, request: HostRequest::Log { level: LogLevel::Info, message: "x".to_owned() } }
}

fn ended(id: u64) -> ToKeeper {
    let outcome = Outcome { summary: "x".to_owned(), details: String::new() };
    ToKeeper::Ended { id, ended: GuestEnd::Done(outcome) }
}

#[tokio::test]
async fn a_peer_that_does_not_begin_as_a_runner_is_no_runner() {
    let confined = Vec::new;
    for (first, reason) in [
        (
            framed(&[ToKeeper::Ready { version: 2, configuration: CONFIGURATION, confined: confined() }]),
            "version 2",
        ),
        (framed(&[ToKeeper::Ready { version: VERSION, configuration: 8, confined: confined() }]), "code for"),
        (framed(&[ToKeeper::Unfit { problem: "no memory".to_owned() }]), "no memory"),
        (framed(&[ended(1)]), "what it is"),
        (vec![255; 100], "bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "bytes"),
        (vec![0; 8], "empty"),
    ] {
        let (link, _peer) = greeted(&first).await;
        let problem = link.err().expect("refused").to_string();
        assert!(problem.contains(reason), "{problem}");
    }
    let (link, _) = {
        let (child, _) = child::start(Path::new("/bin/true")).await.expect("started");
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket");
        drop(theirs);
        (Link::greet(child, ours, Limits::default(), CONFIGURATION).await, ())
    };
    assert!(link.err().expect("refused").to_string().contains("closed"));
}

#[tokio::test]
async fn a_runner_that_breaks_the_rules_is_ended_and_its_runs_learn_of_it() {
    let over = u32::try_from(frame::FRAME_BYTES_MAX + 1).expect("fits").to_le_bytes().to_vec();
    for (said, reason) in [
        (framed(&[ended(99)]), "named run 99"),
        (framed(&[log(99)]), "named run 99"),
        (framed(&[log(1), log(1)]), "twice at once"),
        (framed(&[ended(1), log(1)]), "named run 1"),
        (framed(&[ended(1), ended(1)]), "named run 1"),
        (framed(&[ready()]), "without being asked"),
        (framed(&[ToKeeper::Loaded { digest: Digest::of(b""), loaded: Err(String::new()) }]), "asked"),
        (frame::chunk(b"code"), "not announced"),
        (over, "is the most"),
        (b"\x03\0\0\0M{]".to_vec(), "unreadable"),
        (vec![170; 4096], "is the most"),
    ] {
        let (link, mut peer) = greeted(&framed(&[ready()])).await;
        let link = link.expect("ready");
        let mut place = link.place().expect("it lives");
        peer.write_all(&said).await.expect("written");
        let how = link.has_ended().await;
        assert!(how.contains("ended by this host") && how.contains(reason), "{reason}: {how}");
        while place.hear().await.is_some() {}
        assert!(link.place().is_none(), "it takes no more runs");
    }
}

#[tokio::test]
async fn a_runner_that_dies_half_way_through_a_message_is_dead_and_not_at_fault() {
    let (link, mut peer) = greeted(&framed(&[ready()])).await;
    let link = link.expect("ready");
    let mut place = link.place().expect("it lives");
    let said = framed(&[log(1)]);
    peer.write_all(&said[..said.len() / 2]).await.expect("written");
    drop(peer);
    assert!(place.hear().await.is_none());
    let how = link.has_ended().await;
    assert!(!how.contains("ended by this host"), "{how}");
}

#[tokio::test]
async fn a_guest_whose_run_nobody_has_any_more_is_told_to_stop() {
    let (link, mut peer) = greeted(&framed(&[ready()])).await;
    let link = link.expect("ready");
    drop(link.place().expect("it lives"));
    peer.write_all(&framed(&[log(1), ended(1)])).await.expect("written");
    let mut frames = Frames::default();
    let mut stops = 0;
    while stops < 2 {
        peer.read_buf(frames.room()).await.expect("read");
        while let Some(frame) = frames.next().expect("whole") {
            if let ToRunner::Answer { id: 1, answer, .. } = message::read(&frame).expect("a message") {
                let answer: Result<HostReply, Stop> = answer;
                assert!(matches!(answer, Err(Stop::Abandoned { .. })), "{answer:?}");
                stops += 1;
            }
        }
    }
    assert!(link.place().is_some(), "it goes on with others");
}

#[tokio::test]
async fn code_is_sent_once_and_in_pieces() {
    let (link, mut peer) = greeted(&framed(&[ready()])).await;
    let link = link.expect("ready");
    let digest = Digest::of(b"plugin");
    let code: Arc<[u8]> = vec![3; 2 * CHUNK_BYTES + 1].into();
    let runner = tokio::spawn(async move {
        let (mut frames, mut announced, mut got) = (Frames::default(), 0, 0);
        while announced == 0 || got < announced {
            peer.read_buf(frames.room()).await.expect("read");
            while let Some(frame) = frames.next().expect("whole") {
                match frame {
                    frame::Frame::Chunk(code) => got += code.len(),
                    frame => {
                        if let ToRunner::Load { bytes, .. } = message::read(&frame).expect("a message") {
                            announced = bytes;
                        }
                    }
                }
            }
        }
        let loaded = Err("not this one".to_owned());
        peer.write_all(&framed(&[ToKeeper::Loaded { digest, loaded }])).await.expect("written");
        (announced, got, peer)
    });
    let loaded = link.load(digest, async || Ok(code.clone())).await;
    assert!(matches!(&loaded, Err(RunnerError::Refused(why)) if why == "not this one"), "{loaded:?}");
    let (announced, got, _peer) = runner.await.expect("ended");
    assert_eq!((announced, got), (code.len(), code.len()));
}

#[tokio::test]
async fn nobody_waits_for_code_to_reach_a_runner_that_is_dead() {
    let (link, _never_reads) = greeted(&framed(&[ready()])).await;
    let link = link.expect("a runner");
    let code: Arc<[u8]> = vec![0; 8 << 20].into();
    let loading = link.load(Digest::of(b"plugin"), async || Ok(code));
    let ended = async {
        tokio::task::yield_now().await;
        link.condemn("of another run".to_owned());
    };
    let (loaded, ()) = tokio::join!(loading, ended);
    assert!(matches!(loaded, Err(RunnerError::Died(_))));
}
