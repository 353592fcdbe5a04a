// Real software, dumped while busy and checked afterwards: scripts that check themselves, and start what they are about.
// Servers that the test itself drives from outside: see servers.test.ts.
import { testSoftware } from "./softwareTests";

testSoftware([".py", ".sh", ".pl"]);
