//! A wire that can be cut: stands between a service and a server it depends on. Cut, it ends every connection and refuses
//! new ones, as a stopped server does.

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

/// A wire to a server.
pub struct Switch {
    port: u16,
    target: String,
    cut: watch::Sender<u64>,
    listener: Option<tokio::task::JoinHandle<()>>,
    /// Keeps the port while the wire is cut.
    reserved: Option<TcpSocket>,
}

impl Switch {
    /// A wire to the server in `url`, and the URL that goes through it.
    pub async fn before(url: &str) -> (Self, String) {
        let authority = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
        let target = authority.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut switch =
            Self { port, target: target.clone(), cut: watch::channel(0).0, listener: None, reserved: None };
        switch.serve(listener);
        (switch, url.replace(&target, &format!("127.0.0.1:{port}")))
    }

    fn serve(&mut self, listener: TcpListener) {
        let (target, cut) = (self.target.clone(), self.cut.clone());
        self.listener = Some(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut cut) = (target.clone(), cut.subscribe());
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                            _ = cut.changed() => {}
                        }
                    }
                });
            }
        }));
    }

    /// Cuts the wire.
    pub async fn off(&mut self) {
        if let Some(task) = self.listener.take() {
            task.abort();
            let _ = task.await;
            self.reserved = Some(reserve(self.port));
        }
        self.cut.send_modify(|n| *n += 1);
    }

    /// Joins it again.
    pub async fn on(&mut self) {
        let listener = self.reserved.take().unwrap().listen(1024).unwrap();
        self.serve(listener);
    }
}

/// Holds a port that nobody listens on any more: connections are refused, and no other test is given it.
pub(crate) fn reserve(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    socket
}
