//! Where our pods listen: every address of both families, where the kernel has both.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Listens on an address, by `bind`. `[::]` takes connections over IPv4 as well; where the kernel knows no IPv6, it is
/// `0.0.0.0`.
///
/// # Errors
/// What the kernel says of the address that was asked for.
pub async fn on<L>(address: SocketAddr, bind: impl AsyncFn(SocketAddr) -> io::Result<L>) -> io::Result<L> {
    let refused = match bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(refused) => refused,
    };
    match without_ipv6(address, refused.kind()) {
        Some(address) => bind(address).await.map_err(|_| refused),
        None => Err(refused),
    }
}

/// The address to try instead; none where another family would not help.
fn without_ipv6(address: SocketAddr, refusal: ErrorKind) -> Option<SocketAddr> {
    let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let is_ours = matches!(refusal, ErrorKind::AddrInUse | ErrorKind::PermissionDenied);
    (is_any && !is_ours).then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// What listens at once is waited for by one look.
    fn listens(address: SocketAddr) -> io::Result<TcpListener> {
        let bind = async |address: SocketAddr| TcpListener::bind(address);
        let listening = pin!(on(address, bind));
        match listening.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => unreachable!("nothing is waited for"),
        }
    }

    #[test]
    fn a_pod_listens_on_both_families() {
        let listener = listens("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        for loopback in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let _connected = TcpStream::connect((loopback, port)).unwrap();
            let (_, from) = listener.accept().unwrap();
            assert_eq!(from.ip().to_canonical(), loopback);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_refused() {
        let first = listens("[::]:0".parse().unwrap()).unwrap();
        let again = listens(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_kernel_without_ipv6_listens_on_ipv4() {
        let any: SocketAddr = "[::]:80".parse().unwrap();
        // What Rust makes of EAFNOSUPPORT has no name.
        let unsupported = io::Error::from_raw_os_error(97).kind();
        for refusal in [unsupported, ErrorKind::AddrNotAvailable] {
            assert_eq!(without_ipv6(any, refusal), Some("0.0.0.0:80".parse().unwrap()));
        }
        assert_eq!(without_ipv6(any, ErrorKind::AddrInUse), None);
        for asked in ["[::1]:80", "0.0.0.0:80"] {
            assert_eq!(without_ipv6(asked.parse().unwrap(), unsupported), None, "{asked}");
        }
    }
}
