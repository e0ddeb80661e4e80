//! smoltcp talking to itself over a loopback device: a TCP transfer, UDP echoes, a ping, and a DNS query that a UDP
//! socket of our own answers. Time is counted in polls, so that every run is the same.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use board::say;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m_rt::{entry, exception};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Loopback, Medium};
use smoltcp::socket::{dns, icmp, tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{DnsQueryType, EthernetAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, IpEndpoint};

const HERE: IpAddress = IpAddress::v4(10, 1, 0, 1);
const HERE_6: IpAddress = IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1);

/// The interface, its device and its clock.
struct Station {
    device: Loopback,
    interface: Interface,
    sockets: SocketSet<'static>,
    now: Instant,
}

impl Station {
    fn new() -> Self {
        let mut device = Loopback::new(Medium::Ethernet);
        let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into());
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for (address, prefix) in [(HERE, 24), (HERE_6, 64)] {
                addresses.push(IpCidr::new(address, prefix)).expect("two addresses fit");
            }
        });
        Station {
            device,
            interface,
            sockets: SocketSet::new(Vec::new()),
            now: Instant::ZERO,
        }
    }

    /// Polls until `done` says so, at most a thousand times.
    fn run(&mut self, what: &str, mut done: impl FnMut(&mut Interface, &mut SocketSet) -> bool) {
        for polls in 1..1000 {
            self.interface.poll(self.now, &mut self.device, &mut self.sockets);
            if done(&mut self.interface, &mut self.sockets) {
                return say!("{what}: done after {polls} polls at {}", self.now);
            }
            let pause = self
                .interface
                .poll_delay(self.now, &self.sockets)
                .unwrap_or(Duration::from_millis(1));
            self.now += pause.clamp(Duration::from_millis(1), Duration::from_millis(50));
        }
        say!("{what}: given up");
    }

    fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 1024]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).expect("a free port");
        self.sockets.add(socket)
    }

    fn tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 512]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }
}

/// A kilobyte or two through a window of half a kilobyte.
fn tcp_transfer(station: &mut Station, to: IpAddress) {
    let (server, client) = (station.tcp(), station.tcp());
    let text: Vec<u8> = (0..1500_u32).map(|i| (i * i >> 3) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    station
        .sockets
        .get_mut::<tcp::Socket>(server)
        .listen(80)
        .expect("a free port");
    let socket = station.sockets.get_mut::<tcp::Socket>(client);
    socket
        .connect(station.interface.context(), (to, 80), 49152)
        .expect("an address");
    station.run("tcp", |_, sockets| {
        let socket = sockets.get_mut::<tcp::Socket>(client);
        if socket.can_send() && sent < text.len() {
            sent += socket.send_slice(&text[sent..]).unwrap_or(0);
            if sent == text.len() {
                socket.close();
            }
        }
        let socket = sockets.get_mut::<tcp::Socket>(server);
        if socket.can_recv() {
            let _ = socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes)));
        } else if !socket.may_recv() && !got.is_empty() {
            socket.close();
        }
        !socket.is_open()
    });
    say!("tcp: {} of {} bytes, same {}", got.len(), text.len(), got == text);
    station.sockets.remove(server);
    station.sockets.remove(client);
}

fn udp_echo(station: &mut Station, to: IpAddress) {
    let (server, client) = (station.udp(7), station.udp(4000));
    let socket = station.sockets.get_mut::<udp::Socket>(client);
    for text in ["first", "second", "third"] {
        if let Err(error) = socket.send_slice(text.as_bytes(), IpEndpoint::new(to, 7)) {
            say!("udp: {text}: {error}");
        }
    }
    let mut echoes = 0;
    station.run("udp", |_, sockets| {
        let socket = sockets.get_mut::<udp::Socket>(server);
        let heard = socket
            .recv()
            .map(|(bytes, from)| (bytes.to_ascii_uppercase(), from.endpoint));
        if let Ok((bytes, from)) = heard {
            let _ = socket.send_slice(&bytes, from);
        }
        let socket = sockets.get_mut::<udp::Socket>(client);
        while let Ok((bytes, from)) = socket.recv() {
            say!("udp: {:?} from {}", core::str::from_utf8(bytes), from.endpoint);
            echoes += 1;
        }
        echoes == 3
    });
    station.sockets.remove(server);
    station.sockets.remove(client);
}

fn ping(station: &mut Station) {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 2], vec![0; 256]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(0x22)).expect("an identifier");
    let checksums = smoltcp::phy::ChecksumCapabilities::default();
    let request = Icmpv4Repr::EchoRequest {
        ident: 0x22,
        seq_no: 5,
        data: b"are you there?",
    };
    match socket.send(request.buffer_len(), HERE) {
        Ok(bytes) => request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &checksums),
        Err(error) => say!("ping: {error}"),
    }
    let handle = station.sockets.add(socket);
    station.run("ping", |_, sockets| {
        let Ok((bytes, from)) = sockets.get_mut::<icmp::Socket>(handle).recv() else {
            return false;
        };
        let reply = Icmpv4Packet::new_checked(bytes).and_then(|packet| Icmpv4Repr::parse(&packet, &checksums));
        say!("ping: {reply:?} from {from}");
        matches!(reply, Ok(Icmpv4Repr::EchoReply { .. }))
    });
    station.sockets.remove(handle);
}

/// Asks the name server at our own port 53, and answers as that server.
fn resolve(station: &mut Station, name: &str) {
    let server = station.udp(53);
    let mut socket = dns::Socket::new(&[HERE], vec![]);
    let query = socket.start_query(station.interface.context(), name, DnsQueryType::A);
    let client = station.sockets.add(socket);
    let query = match query {
        Ok(query) => query,
        Err(error) => return say!("dns: {name}: {error}"),
    };
    station.run("dns", |_, sockets| {
        let socket = sockets.get_mut::<udp::Socket>(server);
        let asked = socket.recv().map(|(bytes, from)| (bytes.to_vec(), from.endpoint));
        if let Ok((mut answer, from)) = asked {
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[7] = 1;
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, name.len() as u8]);
            let _ = socket.send_slice(&answer, from);
        }
        match sockets.get_mut::<dns::Socket>(client).get_query_result(query) {
            Ok(addresses) => say!("dns: {name} is {addresses:?}"),
            Err(dns::GetQueryResultError::Pending) => return false,
            Err(error) => say!("dns: {name}: {error}"),
        }
        true
    });
    station.sockets.remove(server);
    station.sockets.remove(client);
}

static WAKES: AtomicU32 = AtomicU32::new(0);

/// Stands in for a network card's interrupt.
#[exception]
fn PendSV() {
    WAKES.fetch_add(1, Ordering::Relaxed);
}

#[entry]
fn main() -> ! {
    board::heap!(64 * 1024);
    let mut station = Station::new();
    for address in [HERE, HERE_6] {
        cortex_m::peripheral::SCB::set_pendsv();
        cortex_m::asm::isb();
        say!("to {address}, interrupt {}", WAKES.load(Ordering::Relaxed));
        tcp_transfer(&mut station, address);
        udp_echo(&mut station, address);
    }
    ping(&mut station);
    resolve(&mut station, "plant.example");
    resolve(&mut station, "..");
    if cfg!(feature = "panic") {
        let left = station.sockets.iter().count();
        assert_eq!(left, 1, "asked to panic at {}", station.now);
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
