use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The point at which a connection to a broker is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After the protocol header.
    Greeting,
    /// Within the frame of basic.publish.
    Method,
    /// Within the frame of the content's header.
    Header,
    /// Within a frame of the content's body.
    Body,
    /// The broker has confirmed, and the confirm is dropped.
    BeforeConfirm,
    /// Right after a confirm.
    AfterConfirm,
}

/// Forwards connections from an agent to a broker, and cuts the first ones.
pub(crate) struct Proxy {
    port: u16,
}

impl Proxy {
    /// Forwards to a port of this machine; the nth connection is cut at the nth of `cuts`.
    pub(crate) fn to(port: u16, cuts: Vec<Cut>) -> Self {
        Self::between(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), port, cuts)
    }

    /// Forwards from the port `own`, without cuts.
    pub(crate) fn at(own: u16, port: u16) -> Self {
        Self::between(TcpListener::bind((Ipv4Addr::LOCALHOST, own)).unwrap(), port, Vec::new())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn between(listener: TcpListener, target: u16, cuts: Vec<Cut>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(Mutex::new(cuts.into_iter()));
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                let cut = cuts.lock().unwrap().next();
                let (Ok(back), Ok(forth)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                // An error ends the connection as well.
                std::thread::spawn(move || drop(to_server(client, server, cut)));
                std::thread::spawn(move || drop(to_client(forth, back, cut)));
            }
        });
        Self { port }
    }
}

fn to_server(mut from: TcpStream, mut to: TcpStream, cut: Option<Cut>) -> io::Result<()> {
    let mut greeting = [0; 8];
    from.read_exact(&mut greeting)?;
    to.write_all(&greeting)?;
    if cut == Some(Cut::Greeting) {
        return close(&from, &to);
    }
    loop {
        let frame = frame(&mut from, &to)?;
        let cut_here = match (cut, frame[0]) {
            (Some(Cut::Method), 1) => frame[7..11] == [0, 60, 0, 40],
            (Some(Cut::Header), 2) | (Some(Cut::Body), 3) => true,
            _ => false,
        };
        if cut_here {
            to.write_all(&frame[..frame.len() / 2])?;
            return close(&from, &to);
        }
        to.write_all(&frame)?;
    }
}

fn to_client(mut from: TcpStream, mut to: TcpStream, cut: Option<Cut>) -> io::Result<()> {
    loop {
        let frame = frame(&mut from, &to)?;
        let confirm = frame[0] == 1 && frame[7..11] == [0, 60, 0, 80];
        if confirm && cut == Some(Cut::BeforeConfirm) {
            return close(&from, &to);
        }
        to.write_all(&frame)?;
        if confirm && cut == Some(Cut::AfterConfirm) {
            return close(&from, &to);
        }
    }
}

/// Reads one frame of AMQP 0-9-1: type, channel, size, content, end. At the end of the stream,
/// shuts the other side down.
fn frame(from: &mut TcpStream, to: &TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 7];
    if let Err(error) = from.read_exact(&mut frame) {
        to.shutdown(Shutdown::Write)?;
        return Err(error);
    }
    let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]);
    frame.resize(7 + usize::try_from(size).unwrap() + 1, 0);
    from.read_exact(&mut frame[7..])?;
    Ok(frame)
}

fn close(one: &TcpStream, other: &TcpStream) -> io::Result<()> {
    one.shutdown(Shutdown::Both).and(other.shutdown(Shutdown::Both))
}
