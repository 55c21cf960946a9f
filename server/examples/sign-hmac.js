// Signs an order with an HMAC key, and sends it to the partner who has the same key.
//
//   neo-secrets functions deploy sign-hmac.js --name send-order --secret partner-key \
//     --egress partner.example.com --env PARTNER=https://partner.example.com --pin-code
//   neo-secrets functions invoke send-order --params '{"id":"o-1","amount":"12.50"}'

const bytes = new TextEncoder();

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function main(context) {
  const { id = '', amount = '' } = context.params ?? {};
  // A key that signs whatever its caller likes is as good as given away: check first.
  if (!/^[a-z0-9-]{1,40}$/.test(id) || !/^[0-9]{1,6}\.[0-9]{2}$/.test(amount)) {
    throw new RangeError('params are {"id":"o-1","amount":"12.50"}');
  }
  const secret = bytes.encode(await context.secrets.get('partner-key'));
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', secret, algorithm, false, ['sign']);
  const body = JSON.stringify({ id, amount });
  const time = Math.floor(Date.now() / 1000).toString();
  const signature = await crypto.subtle.sign('HMAC', key, bytes.encode(`${time}.${body}`));
  const response = await fetch(`${context.environment.PARTNER}/orders`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Signature': `t=${time},v1=${hex(signature)}` },
    body,
  });
  if (response.status !== 201) {
    throw new Error(`the partner answered ${response.status}`);
  }
  return { accepted: id };
}
