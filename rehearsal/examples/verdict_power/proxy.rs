//! An HTTP/1.1 go-between that rewrites answers.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What becomes of an answer.
pub(crate) enum Reply {
    /// This body instead.
    Body(String),
    /// This status, and nothing else.
    Status(u16),
}

/// From the path, the request's body, the node's own answer, and the time since the live window began.
/// Called before the node is asked with no answer: what it gives then is said without asking.
pub(crate) type Lie = fn(Question<'_>) -> Option<Reply>;

#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) path: &'a str,
    pub(crate) sent: &'a [u8],
    pub(crate) answer: Option<&'a str>,
    /// Nothing before it.
    pub(crate) live: Option<Duration>,
}

pub(crate) fn serve(
    front: &str,
    back: &str,
    lie: Lie,
    live: &Arc<OnceLock<Instant>>,
    is_over: &Arc<AtomicBool>,
) {
    let listener = TcpListener::bind(front).expect("the node listens elsewhere");
    listener.set_nonblocking(true).expect("a socket");
    while !is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let (back, live) = (back.to_owned(), live.clone());
                thread::spawn(move || drop(one(stream, &back, lie, &live)));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn one(mut stream: TcpStream, back: &str, lie: Lie, live: &OnceLock<Instant>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head += &line;
        }
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent)?;
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let live = live.get().map(Instant::elapsed);
    let question = Question { path: &path, sent: &sent, answer: None, live };
    if let Some(reply) = lie(question) {
        return say(&mut stream, "HTTP/1.1 200 OK", &reply);
    }
    let mut node = TcpStream::connect(back)?;
    node.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    node.write_all(&sent)?;
    let mut answer = Vec::new();
    node.read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len());
    let body = answer.get(split + 4..).unwrap_or_default();
    let first = String::from_utf8_lossy(&answer[..split]);
    let status = first.lines().next().unwrap_or("HTTP/1.1 500 X").to_owned();
    let reply = std::str::from_utf8(body)
        .ok()
        .and_then(|body| lie(Question { answer: Some(body), ..question }));
    match reply {
        Some(reply) => say(&mut stream, &status, &reply),
        None => stream.write_all(&answer),
    }
}

fn say(stream: &mut TcpStream, status: &str, reply: &Reply) -> io::Result<()> {
    let (status, body) = match reply {
        Reply::Body(body) => (status.to_owned(), body.as_str()),
        Reply::Status(code) => (format!("HTTP/1.1 {code} X"), ""),
    };
    let length = body.len();
    let head = format!("{status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
