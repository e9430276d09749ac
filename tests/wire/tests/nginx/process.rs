//! A real nginx, alone in a folder of its own.

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use crate::answer;

/// A folder that goes when it is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("nginx-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder for tests");
        Self(path)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("nginx had to say:\n{}", self.read("error.log"));
        }
        // Whoever cleans the target folder takes the rest.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running nginx, which is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    child: Child,
    folder: Folder,
}

impl Nginx {
    /// Starts one that has this in its `http` block, where `{listen}` stands for the address that it gets. None, and
    /// a line that says so, where nginx is not installed.
    pub(crate) async fn start(http: &str) -> Option<Self> {
        let modules = match Command::new("nginx").arg("-V").output().await {
            Ok(told) => String::from_utf8_lossy(&told.stderr).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("skipped: there is no nginx here (Debian: apt-get install nginx-light)");
                return None;
            }
            Err(error) => panic!("nginx: {error}"),
        };
        // Somebody else may take a port that was free a moment ago.
        for _ in 0..5 {
            if let Some(nginx) = Self::attempt(http, &modules).await {
                return Some(nginx);
            }
        }
        panic!("no port stays free for nginx");
    }

    /// None where the port was taken.
    async fn attempt(http: &str, modules: &str) -> Option<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = free.local_addr().expect("a bound port");
        drop(free);
        let folder = Folder::new();
        let config = config(&folder.0, modules, &http.replace("{listen}", &address.to_string()));
        fs::write(folder.0.join("nginx.conf"), config).expect("a file for tests");
        let mut child = command(&folder.0).spawn().expect("it is there");
        let said = child.stderr.take().expect("piped");
        match answer(listens(said)).await {
            Ok(()) => Some(Self { address, child, folder }),
            Err(said) if said.contains("Address already in use") => None,
            Err(said) => panic!("nginx does not start: {said}"),
        }
    }

    /// Ends it in good order; whom it has served, and how: a line for each request.
    pub(crate) async fn stop(mut self) -> Vec<String> {
        let told =
            command(&self.folder.0).args(["-s", "quit"]).output().await.expect("it is there");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        answer(self.child.wait()).await.expect("it ends");
        self.folder.read("access.log").lines().map(str::to_owned).collect()
    }
}

fn command(folder: &Path) -> Command {
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    nginx
}

/// One process in the foreground, which needs no rights and writes nowhere else.
fn config(folder: &Path, modules: &str, http: &str) -> String {
    let within = |name: &str| format!("\"{}\"", folder.join(name).display());
    let mut config = format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log {} notice;\nerror_log stderr notice;\n\
         events {{ worker_connections 128; }}\nhttp {{\n",
        within("nginx.pid"),
        within("error.log"),
    );
    config += "log_format told '$remote_addr $status';\n";
    config += &format!("access_log {} told;\n", within("access.log"));
    config += &format!("client_body_temp_path {};\n", within("body"));
    for module in ["proxy", "fastcgi", "uwsgi", "scgi"] {
        if !modules.contains(&format!("--without-http_{module}_module")) {
            config += &format!("{module}_temp_path {};\n", within(module));
        }
    }
    config + http + "\n}\n"
}

/// Until it listens, or what it said when it ended before. What it says later is in its log.
async fn listens(said: impl AsyncRead + Unpin + Send + 'static) -> Result<(), String> {
    let mut lines = BufReader::new(said).lines();
    let mut all = String::new();
    while let Some(line) = lines.next_line().await.expect("a text") {
        // It says how it will wait for events when its sockets are open.
        if line.contains("event method") {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(());
        }
        all = all + &line + "\n";
    }
    Err(all)
}
