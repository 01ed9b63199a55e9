//! The address for metrics: `GET /metrics` for Prometheus, `GET /health` for load balancers.
//!
//! One request a connection, one connection at a time, each with little time and few bytes: it is meant for an
//! address that only the operator reaches.

use super::Service;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How long a request may take.
const DEADLINE: Duration = Duration::from_millis(500);

/// Most bytes of a request.
const MAX_REQUEST_BYTES: usize = 4 << 10;

/// Listens on `address` and answers until the service is gone, on a thread of its own; returns the address.
pub(super) fn start(address: &str, service: Weak<Service>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    std::thread::Builder::new().name("heq-metrics".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            let Some(service) = service.upgrade() else { return };
            match stream {
                // Whoever asks may go away.
                Ok(stream) => drop(answer(&stream, &service)),
                Err(_) => std::thread::sleep(DEADLINE),
            }
        }
    })?;
    Ok(bound)
}

fn answer(stream: &TcpStream, service: &Service) -> io::Result<()> {
    let request = read_request(stream)?;
    let (status, kind, body) = match request.split_whitespace().nth(1) {
        Some("/metrics") => {
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", service.metrics_text())
        }
        Some("/health") if service.is_stopping() => {
            ("503 Service Unavailable", "text/plain", b"stopping\n".to_vec())
        }
        Some("/health") => ("200 OK", "text/plain", b"ok\n".to_vec()),
        _ => ("404 Not Found", "text/plain", b"/metrics or /health\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(&[head.as_bytes(), &body].concat())
}

/// Reads up to the empty line.
fn read_request(mut stream: &TcpStream) -> io::Result<String> {
    let deadline = Instant::now() + DEADLINE;
    let mut request = Vec::new();
    let mut bytes = [0; 512];
    while request.len() < MAX_REQUEST_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut bytes)?;
        request.extend_from_slice(&bytes[..count]);
        if count == 0 || request.windows(4).any(|window| window == b"\r\n\r\n") {
            break;
        }
    }
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}
