// Calls an API with a key that only this code and the API see.
//
//   neo-secrets functions deploy call-api.js --name rates --secret rates-key \
//     --egress api.example.com --env API=https://api.example.com
//   neo-secrets functions invoke rates --params '{"from":"CHF","to":"EUR"}'

async function main(context) {
  const { from = '', to = '' } = context.params ?? {};
  if (!/^[A-Z]{3}$/.test(from) || !/^[A-Z]{3}$/.test(to)) {
    throw new RangeError('params are {"from":"CHF","to":"EUR"}');
  }
  // Read at each call: the next invocation sees a new value.
  const key = await context.secrets.get('rates-key');
  const url = `${context.environment.API}/v1/rates?${new URLSearchParams({ from, to })}`;
  const response = await fetch(url, { headers: { Authorization: `Bearer ${key}` } });
  if (!response.ok) {
    throw new Error(`the API answered ${response.status}`);
  }
  const { rate } = await response.json();
  context.log.info(`${from}/${to} is ${rate}`);
  // Nothing but the result leaves: not the key, and not whatever else the API answered.
  return { from, to, rate };
}
