// Puts a chapter's Worker behind the book: each visitor plays in objects of their own, and nothing of a chapter knows
// of it. `cargo xtask` writes the few lines that name a chapter's classes, and imports this file into them.
//
// The chapter's Worker and its objects get an `env` in which every name of an object has `<visitor>~` before it, and
// see the names without that. It is JavaScript because what has to be wrapped is: the classes that worker-build makes
// take the runtime's own objects, and a Proxy of one is all that Rust does not notice.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

/** How many objects a visitor may have in a chapter at one time. */
const OBJECTS = 50;
/** How large an object may grow before it takes nothing more, in bytes of its database. */
const BYTES = 4_000_000;
/** After how many milliseconds an object that nobody has asked for is emptied; `LIVE_IDLE_MS` says otherwise. */
const IDLE = 3_600_000;
/** Workers KV keeps nothing for less than 60 s. */
const KV_SECONDS = 3_600;

const idle = (env) => Number(env.LIVE_IDLE_MS ?? IDLE);

/** An answer of ours, not of the chapter. */
const refusal = (why, status, text, headers = {}) =>
  new Response(`${text}\n`, { status, headers: { "Live-Refused": why, ...headers } });

/** One of the runtime's own objects, with something else in place of some of its members. */
const instead = (target, members) => new Proxy(target, {
  get(target, key) {
    if (Object.hasOwn(members, key)) return members[key];
    const value = Reflect.get(target, key);
    // Methods of the runtime want its own object as `this`. Of the constructor, `worker` asks the name.
    return typeof value === "function" && key !== "constructor" ? value.bind(target) : value;
  },
});

/** The id behind one that a chapter sees. */
const real = new WeakMap();
const own = (id) => real.get(id) ?? id;

/** An id as the chapter would see it if nobody else were there. */
function seen(id, name) {
  const view = instead(id, { name, equals: (other) => id.equals(own(other)) });
  real.set(view, id);
  return view;
}

/** A stub that has the visitor's keeper write the object down before it is asked for something. */
const watched = (stub, name, write) => instead(stub, {
  id: seen(stub.id, name),
  name,
  fetch: async (...request) => await write(stub.id.toString()) ?? await stub.fetch(...request),
});

/** A namespace in which only this visitor's names are. */
function namespace(target, visitor, write) {
  const salted = (name) => `${visitor}~${name}`;
  return instead(target, {
    idFromName: (name) => seen(target.idFromName(salted(name)), name),
    idFromString: (hex) => seen(target.idFromString(hex)),
    newUniqueId: (...options) => seen(target.newUniqueId(...options)),
    get: (id, ...options) => watched(target.get(own(id), ...options), id.name, write),
    getByName: (name, ...options) => watched(target.getByName(salted(name), ...options), name, write),
    jurisdiction: (place) => namespace(target.jurisdiction(place), visitor, write),
  });
}

/** A namespace of Workers KV in which only this visitor's keys are, and none for long. */
function store(target, visitor) {
  const salted = (key) => `${visitor}~${key}`;
  return instead(target, {
    get: (key, ...options) => target.get(salted(key), ...options),
    getWithMetadata: (key, ...options) => target.getWithMetadata(salted(key), ...options),
    put: (key, value, options) => target.put(salted(key), value, { ...options, expirationTtl: KV_SECONDS }),
    delete: (key) => target.delete(salted(key)),
    list: () => { throw new Error("the keys of other visitors are nobody's business"); },
  });
}

/** Objects that were written down lately, so that not each request has to ask the keeper. */
const known = new Map();

/** Has the keeper write an object down. Returns the refusal if the visitor has too many. */
async function write(env, visitor, binding, id) {
  const key = `${visitor} ${binding} ${id}`;
  const now = Date.now();
  if (now < (known.get(key) ?? 0)) return undefined;
  // The keeper empties what it has not heard of for twice as long.
  if (known.size >= 10_000) known.clear();
  if (!await env.KEEPER.getByName(visitor).keep(binding, id)) {
    return refusal("limit", 429,
      `${OBJECTS} objects are all that you can have here: an object that nobody asks for goes, and Reset empties them`,
      { "Retry-After": String(Math.ceil(idle(env) / 1_000)) });
  }
  known.set(key, now + Math.min(60_000, idle(env) / 2));
  return undefined;
}

/** What a chapter sees of its environment on behalf of a visitor. */
function salted(env, visitor) {
  const members = {};
  for (const [binding, value] of Object.entries(env)) {
    const kind = value?.constructor?.name;
    if (kind === "DurableObjectNamespace") {
      members[binding] = namespace(value, visitor, (id) => write(env, visitor, binding, id));
    } else if (kind === "KvNamespace") {
      members[binding] = store(value, visitor);
    }
  }
  return instead(env, members);
}

/** The Worker of a chapter, for one visitor at a time. Only the book's front Worker can reach it, and names the visitor. */
export const door = (Chapter) => class extends WorkerEntrypoint {
  async fetch(request) {
    const headers = new Headers(request.headers);
    const [visitor, act] = ["Live-Visitor", "Live-Act"].map((name) => headers.get(name));
    if (!visitor) return refusal("visitor", 403, "this Worker answers the book's front door only");
    if (act) {
      await this.env.KEEPER?.getByName(visitor)[act === "reset" ? "reset" : "restart"]();
      return new Response(act === "reset" ? "reset\n" : "restarted\n");
    }
    headers.delete("Live-Visitor");
    const chapter = new Chapter(this.ctx, salted(this.env, visitor));
    return await chapter.fetch(new Request(request, { headers }));
  }
};

/** The class of an object, with one visitor's `ctx` and `env`. */
export function house(Class) {
  class House extends DurableObject {
    constructor(ctx, env) {
      super(ctx, env);
      const [visitor, name] = split(ctx.id.name);
      // An object without a name does not know whose it is. What it calls is its own, then.
      this.inner = new Class(instead(ctx, { id: seen(ctx.id, name) }), salted(env, visitor ?? ctx.id.toString()));
    }

    async fetch(request) {
      const reads = request.method === "GET" || request.method === "HEAD";
      if (!reads && this.ctx.storage.sql.databaseSize > BYTES) {
        return refusal("size", 507, `this object holds more than ${BYTES} bytes, which is all it can here: Reset empties it`);
      }
      return await this.inner.fetch(request);
    }

    /** Forgets all that is on disk. */
    async empty() {
      for (const socket of this.ctx.getWebSockets()) socket.close(1001, "this object has been emptied");
      await this.ctx.storage.deleteAlarm();
      await this.ctx.storage.deleteAll();
      await this.ctx.storage.sync();
    }

    /** Forgets all that is in memory. The caller gets an error: the object is gone before it can answer. */
    restart() {
      this.ctx.abort("restarted by its visitor");
    }
  }
  // The runtime looks which handlers a class has.
  for (const handler of ["alarm", "webSocketMessage", "webSocketClose", "webSocketError"]) {
    if (handler in Class.prototype) {
      House.prototype[handler] = function (...event) { return this.inner[handler](...event); };
    }
  }
  return House;
}

function split(name) {
  const at = name?.indexOf("~") ?? -1;
  return at < 0 ? [undefined, name] : [name.slice(0, at), name.slice(at + 1)];
}

/** Knows a visitor's objects in one chapter, and empties those that nobody asks for any more. */
export class Keeper extends DurableObject {
  /** Writes an object down. Returns whether the visitor may have it. */
  async keep(binding, id) {
    const { kv } = this.ctx.storage;
    const key = `${binding} ${id}`;
    if (kv.get(key) === undefined && [...kv.list({ limit: OBJECTS })].length >= OBJECTS) return false;
    kv.put(key, Date.now());
    if (await this.ctx.storage.getAlarm() === null) await this.ctx.storage.setAlarm(Date.now() + idle(this.env));
    return true;
  }

  /** What a restart of the server would do to the visitor's objects. */
  async restart() {
    await Promise.all([...this.ctx.storage.kv.list()].map(([key]) => this.#abort(this.#stub(key))));
  }

  /** Empties all of them. They stay written down, for they may be in use again before a Worker asks here. */
  async reset() {
    await Promise.all([...this.ctx.storage.kv.list()].map(([key]) => this.#empty(this.#stub(key))));
  }

  async alarm() {
    const { kv } = this.ctx.storage;
    const old = Date.now() - idle(this.env);
    for (const [key, asked] of [...kv.list()]) {
      if (asked > old) continue;
      try {
        await this.#empty(this.#stub(key));
        kv.delete(key);
      } catch (error) {
        // It stays written down, and must not keep the others from their turn.
        console.error(`${key} cannot be emptied: ${error}`);
        kv.put(key, Date.now());
      }
    }
    const left = [...kv.list()].map(([, asked]) => asked);
    if (left.length > 0) await this.ctx.storage.setAlarm(Math.min(...left) + idle(this.env));
    else await this.ctx.storage.deleteAll();
  }

  #stub(key) {
    const [binding, id] = key.split(" ");
    return this.env[binding].get(this.env[binding].idFromString(id));
  }

  async #empty(stub) {
    await stub.empty();
    await this.#abort(stub);
  }

  async #abort(stub) {
    await stub.restart().catch(() => {});
  }
}
