//! An API server that takes connections and says nothing, so that whoever asks it waits.

use std::{net::TcpListener, path::Path};

/// Listens as long as the first value lives. The second is the path of a kubeconfig in the folder that leads there.
pub fn api_server(folder: &Path) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let path = folder.join("kubeconfig");
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: silent\ncontexts: [{{name: silent, context: {{cluster: silent, user: nobody}}}}]\n\
         clusters: [{{name: silent, cluster: {{server: \"http://{address}\"}}}}]\nusers: [{{name: nobody, user: {{}}}}]\n"
    );
    std::fs::write(&path, kubeconfig).unwrap();
    (listener, path.to_str().unwrap().to_owned())
}
