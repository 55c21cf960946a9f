// Checks that a webhook's sender has the shared key, before anybody believes the event.
// Whoever receives webhooks hands on the body as text, exactly as it came, and the signature's header.
//
//   neo-secrets functions deploy check-webhook.js --name check-webhook --secret webhook-key
//   neo-secrets functions invoke check-webhook --params '{"body":"{\"event\":\"paid\"}","signature":"sha256=.."}'

function fromHex(text) {
  return Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
}

async function main(context) {
  const { body, signature } = context.params ?? {};
  const found = /^sha256=([0-9a-f]{64})$/.exec(signature);
  if (typeof body !== 'string' || !found) {
    return { valid: false };
  }
  const bytes = new TextEncoder();
  const secret = bytes.encode(await context.secrets.get('webhook-key'));
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', secret, algorithm, false, ['verify']);
  // In constant time: an early end would tell a forger how much of the signature is right.
  const valid = await crypto.subtle.verify('HMAC', key, fromHex(found[1]), bytes.encode(body));
  return valid ? { valid, event: JSON.parse(body) } : { valid };
}
