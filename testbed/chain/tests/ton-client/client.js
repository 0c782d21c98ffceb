// Deploys a wallet, pays, and reads everything back through the unmodified client. Exits non-zero at the first
// difference. Usage: node client.js http://127.0.0.1:PORT
'use strict';

const assert = require('node:assert/strict');
const { TonClient, WalletContractV5R1, internal } = require('@ton/ton');
const { keyPairFromSeed, sha256_sync } = require('@ton/crypto');
const { Address, SendMode, toNano } = require('@ton/core');

const GLOBAL_ID = -217;
// A payment takes two blocks; the test's network makes one every 50 ms.
const PATIENCE_MS = 10_000;

async function until(description, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `timed out waiting until ${description}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function main(root) {
  const keys = keyPairFromSeed(sha256_sync('contract test'));
  const contract = WalletContractV5R1.create({
    publicKey: keys.publicKey,
    walletId: { networkGlobalId: GLOBAL_ID },
  });
  const payee = new Address(0, sha256_sync('payee'));
  const client = new TonClient({ endpoint: `${root}/api/v2/jsonRPC` });
  const wallet = client.open(contract);

  const request = JSON.stringify({ address: contract.address.toString(), nano: '5000000000' });
  const funded = await (await fetch(`${root}/faucet`, { method: 'POST', body: request })).json();
  assert.equal(funded.result.delivered, true);
  assert.equal(await wallet.getBalance(), toNano(5));
  assert.equal(await wallet.getSeqno(), 0);

  const transfer = {
    seqno: 0,
    secretKey: keys.secretKey,
    sendMode: SendMode.PAY_GAS_SEPARATELY | SendMode.IGNORE_ERRORS,
    messages: [internal({ to: payee, value: toNano('1.5'), bounce: false, body: 'job 42' })],
  };
  await wallet.sendTransfer(transfer);
  await until('the payment arrives', async () => (await client.getBalance(payee)) === toNano('1.5'));
  assert.equal(await wallet.getSeqno(), 1);

  const refused = await wallet.sendTransfer(transfer).then(() => null, (error) => error.response);
  assert.equal(refused.status, 500);
  assert.match(refused.data.error, /exitcode=133/);

  const [sent] = await client.getTransactions(contract.address, { limit: 5 });
  const [out] = [...sent.outMessages.values()];
  assert.equal(out.info.value.coins, toNano('1.5'));
  const hash = sent.hash().toString('base64');
  assert.equal((await client.getTransaction(contract.address, sent.lt.toString(), hash)).lt, sent.lt);
  const older = await client.getTransactions(contract.address, { limit: 5, lt: sent.lt.toString(), hash });
  assert.ok(older.length === 1 && older[0].lt < sent.lt);
  const [received] = await client.getTransactions(payee, { limit: 1 });
  assert.equal(received.inMessage.body.beginParse().skip(32).loadStringTail(), 'job 42');
  const located = await client.tryLocateResultTx(contract.address, payee, out.info.createdLt.toString());
  assert.equal(located.lt, received.lt);

  const { latestSeqno } = await client.getMasterchainInfo();
  assert.equal((await client.getWorkchainShards(latestSeqno))[0].seqno, latestSeqno);
  assert.equal((await client.runMethodWithError(payee, 'seqno')).exit_code, -13);
}

main(process.argv[2]).catch((error) => {
  console.error(error.response?.data ?? error);
  process.exit(1);
});
