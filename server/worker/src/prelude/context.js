// What main(context) is given, and how an invocation starts and ends.
const named = (name) =>
  class extends Error {
    get name() {
      return name;
    }
  };
const SecretAccessDenied = named('SecretAccessDenied');
const SecretNotFound = named('SecretNotFound');
const SecretUnavailable = named('SecretUnavailable');

const secretsOf = (names, reference) => {
  // For the error's words: what may be read is the server's to say, whatever code does to these.
  const declared = new Set(names);
  const check = (name) => {
    if (typeof name !== 'string') throw new TypeError("a secret's name is a string");
    if (!declared.has(name)) {
      throw new SecretAccessDenied(`the function has not declared the secret "${name}"`);
    }
  };
  return Object.freeze({
    async get(name) {
      check(name);
      try {
        return await ask(() => host.readSecret(name));
      } catch (error) {
        if (error === 'denied') throw new SecretAccessDenied(`the function may not read the secret "${name}"`);
        if (error === 'not found') throw new SecretNotFound(`there is no secret "${name}", or it has expired`);
        throw error;
      }
    },
    ref(name) {
      check(name);
      return `${reference}${name}`;
    },
  });
};

// The module pattern of CommonJS: code sets module.exports, or properties of exports.
const module = { exports: {} };
define('module', module);
define('exports', module.exports);

const mainOf = (main, namespace) => {
  const found = [namespace?.default, namespace?.main, module.exports, module.exports?.main, main];
  const entry = found.find((candidate) => typeof candidate === 'function');
  if (entry !== undefined) return entry;
  throw new TypeError('the code has no main: write "async function main(context) { ... }"');
};

const hooks = {
  // Runs the function; gives its result as JSON.
  async start(evaluated, main, namespace, params, environment, names, reference, id, startedAt) {
    await evaluated;
    const pairs = [];
    for (let place = 0; place < environment.length; place += 2) {
      pairs.push([environment[place], environment[place + 1]]);
    }
    const result = await mainOf(main, namespace)({
      params: parse(params),
      environment: Object.fromEntries(pairs),
      secrets: secretsOf(names, reference),
      execution: Object.freeze({ id, startedAt }),
      log,
    });
    let text;
    try {
      text = stringify(result) ?? 'null';
    } catch (error) {
      // A getter's or toJSON's own error is the code's; the engine's says little.
      if (!(error instanceof TypeError)) throw error;
      throw new TypeError(`the result is not JSON: ${error.message}`);
    }
    return text;
  },

  fire: fireTimer,

  secret(request, outcome, text) {
    const { resolve, reject } = answered(request);
    if (outcome === 'value') resolve(text);
    else if (outcome === 'failed') reject(new SecretUnavailable(text));
    else reject(outcome);
  },

  fetched(request, ...parts) {
    const { resolve, reject } = answered(request);
    try {
      resolve(responseOf(...parts));
    } catch (error) {
      reject(error);
    }
  },

  notFetched(request, message) {
    answered(request).reject(new TypeError(message));
  },

  // Name, message and stack of whatever was thrown.
  describe(thrown) {
    if (thrown instanceof Error || thrown instanceof DOMException) {
      const stack = typeof thrown.stack === 'string' ? thrown.stack : '';
      return [`${thrown.name}`, `${thrown.message}`, stack].map((text) => text.toWellFormed());
    }
    return ['Error', inspect(thrown).toWellFormed(), ''];
  },
};
