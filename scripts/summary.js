// A reporter for node --test that gives its counts at the end, as the spec reporter prints them, and nothing else.
module.exports = async function* summary(events) {
  for await (const { type, data } of events) {
    if (type === "test:diagnostic" && data.nesting === 0 && data.file === undefined) yield `ℹ ${data.message}\n`;
  }
};
