//! The pages of a farm's and of a payer's first hour, walked: every command of theirs is run, in order, as it is
//! printed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use cocoon_ton::{Address, SecretKey, Signer as _, Wallet};
use e2e::{
    farm::{MODEL, ton},
    file_server::FileServer,
    namespace::with_namespace,
    stack::Stack,
};

use super::on_stack;

/// Commands that are not run here, by how they begin, and what runs them instead.
const RUN_ELSEWHERE: [(&str, &str); 4] = [
    (
        "helm install",
        "the stack is made with it; `./x test chart` renders it as it is printed",
    ),
    (
        "kubectl create namespace shop",
        "each test has a namespace of its own",
    ),
    (
        "kubectl create namespace team",
        "the payer's is of this test as well",
    ),
    ("helm uninstall", "the stack ends with it"),
];
/// Commands that go on until Ctrl-C.
const ENDLESS: [&str; 2] = ["--watch", "kubectl cocoon dashboard"];
/// Where a farm reads on once the payer has been there.
const WITH_A_PAYER: &str = "kubectl cocoon wallet --namespace shop";

/// The commands of a page: the lines of its blocks without a language.
fn commands(name: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let mut is_inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) => is_inside = !is_inside,
            None if is_inside => commands.push(line.to_owned()),
            None => {}
        }
    }
    Ok(commands)
}

/// Who types, where, and what the words in capitals stand for.
struct Reader<'a> {
    stack: &'a Stack,
    folder: &'a Path,
    words: Vec<(String, String)>,
    run: usize,
}

impl Reader<'_> {
    fn knows(&mut self, word: &str, meaning: impl Into<String>) {
        self.words.push((word.to_owned(), meaning.into()));
    }

    /// A line with what is this stack's in place of what is printed.
    fn meant(&self, line: &str) -> String {
        let meant = |line: String, (word, meaning): &(String, String)| line.replace(word, meaning);
        let line = self.words.iter().fold(line.to_owned(), meant);
        if ENDLESS.iter().any(|word| line.contains(word)) {
            format!("timeout --preserve-status --signal INT 5 {line}")
        } else {
            line
        }
    }

    /// Types a line, unless something else runs it; answers what it printed.
    async fn types(&mut self, line: &str) -> Result<String> {
        if line.starts_with("export ") || RUN_ELSEWHERE.iter().any(|(begin, _)| line.starts_with(begin)) {
            return Ok(String::new());
        }
        let said = self.stack.shell(&self.meant(line), self.folder).await?;
        println!("$ {line}\n{}{}", said.err, said.out);
        let printed = said.success().with_context(|| format!("`{line}`"))?;
        self.run += 1;
        self.notices(line, &printed).await?;
        Ok(printed)
    }

    /// Does what the page asks for between the commands.
    async fn notices(&mut self, line: &str, printed: &str) -> Result<()> {
        if !line.starts_with("kubectl cocoon init") {
            return Ok(());
        }
        let mut addresses = printed
            .lines()
            .map(str::trim)
            .filter(|word| word.parse::<Address>().is_ok());
        let wallet = addresses.next().context("no address was printed")?.to_owned();
        self.stack.give(&wallet.parse()?, ton("5")).await?;
        if line.contains("--payout") {
            self.knows("CLAIMER", wallet);
        }
        Ok(())
    }
}

#[test]
fn every_command_of_the_first_hours_does_what_its_page_says() -> Result<()> {
    on_stack("documents", |stack, shop| async move {
        let (stack, shop) = (&stack, &shop);
        with_namespace(stack, "documents-team", |team| async move {
            walk(stack, shop, &team).await
        })
        .await
    })
}

async fn walk(stack: &Stack, shop: &str, team: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    std::os::unix::fs::symlink(examples, folder.path().join("examples"))?;
    fs::create_dir(folder.path().join("headers"))?;
    fs::write(folder.path().join("headers/Authorization"), "Bearer of-this-test")?;
    let server = FileServer::start(stack, fs::read(&stack.description.model_path)?, 0).await?;
    let mut reader = reader(stack, folder.path(), [shop, team], &server)?;

    let (farm, payer) = (commands("farm.md")?, commands("payer.md")?);
    for line in &farm {
        if line == WITH_A_PAYER {
            for line in &payer {
                reader.types(line).await?;
            }
        }
        reader.types(line).await?;
    }
    let all = || farm.iter().chain(&payer);
    for (begin, why) in RUN_ELSEWHERE {
        ensure!(
            all().any(|line| line.starts_with(begin)),
            "nobody prints `{begin}` ({why})"
        );
    }
    ensure!(
        farm.iter().any(|line| line == WITH_A_PAYER),
        "the payer was never there"
    );
    ensure!(
        server
            .heads()
            .iter()
            .any(|head| head.contains("Bearer of-this-test")),
        "the header was never sent"
    );
    println!("{} commands of {} were run", reader.run, all().count());
    Ok(())
}

/// Address of a wallet whose key lies in no cluster.
fn elsewhere(stack: &Stack) -> Result<String> {
    let key = SecretKey::parse(&"5a".repeat(32)).context("32 bytes are a key")?;
    let wallet = Wallet::new(key.public_key(), &stack.network());
    Ok(wallet.address().friendly(&stack.network(), false))
}

fn reader<'a>(
    stack: &'a Stack,
    folder: &'a Path,
    [shop, team]: [&str; 2],
    server: &FileServer,
) -> Result<Reader<'a>> {
    let mut reader = Reader {
        stack,
        folder,
        words: Vec::new(),
        run: 0,
    };
    let description = &stack.description;
    // The testbed's model, on processors: a GPU in software takes minutes for an answer.
    let offer = format!("--name {MODEL} --backend cpu --price 0.4");
    let named = format!("--name {MODEL} --price 0.4");
    reader.knows("https://HOST/MODEL.gguf", format!("{}/model.gguf", server.root));
    reader.knows("MODEL.gguf", description.model_path.display().to_string());
    reader.knows(&named, offer);
    reader.knows("init --namespace shop --network testnet", "init --namespace shop");
    reader.knows("init --network testnet", "init");
    reader.knows("--network testnet", format!("--network {}", description.network));
    reader.knows("--namespace shop", format!("--namespace {shop}"));
    reader.knows("shop/farm", format!("{shop}/farm"));
    reader.knows("--namespace team", format!("--namespace {team}"));
    reader.knows("[\"team\"]", format!("[\"{team}\"]"));
    reader.knows("cocoon-system", description.operator_namespace.clone());
    reader.knows("ADDRESS", elsewhere(stack)?);
    Ok(reader)
}
