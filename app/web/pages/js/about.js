// Error rates, limits and responsible use.

import { el } from "./dom.js";

export function about() {
  return el("article", { class: "prose" },
    el("h1", {}, "Limits and responsible use"),
    el("p", { class: "lead" }, "Gaitprint compares silhouettes of people who walk. It is often right and sometimes wrong, and it cannot tell you which."),
    el("h2", {}, "How often it is wrong"),
    el("ul", {},
      el("li", {}, "With published gait networks the right person comes first for about 65 % (everyday video, Gait3D) to 98 % (a laboratory, the same clothes) of walks."),
      el("li", {}, "The small network that comes with the program was trained on virtual people only. Expect more errors with real people, and many more with the method gei, which uses no network."),
      el("li", {}, "Bags, coats, another camera angle, distance and a low frame rate all cause errors. People who are half hidden or seen for less than a second are not compared at all."),
      el("li", {}, "Strangers are sometimes given the name of somebody in the gallery. This happens more often the more people are enrolled.")),
    el("h2", {}, "What the numbers mean"),
    el("dl", { class: "terms" },
      el("dt", {}, "Distance"), el("dd", {}, "How different two walks are: the smaller, the more alike. Distances of different gait networks cannot be compared."),
      el("dt", {}, "Threshold"), el("dd", {}, "The largest distance at which a name is given. If it was not measured what this network's distances mean (calibration), the threshold is derived from people who are seen together in the videos, because they are certainly different people. If there are only a few of them, it is inaccurate, and the run says so."),
      el("dt", {}, "Clear, fair, doubtful"), el("dd", {}, "How clear a decision is: how far its distance is from the threshold or from that of the next person. Shown if no probability is known."),
      el("dt", {}, "A name with “?”"), el("dd", {}, "More likely wrong than right, or too close to tell."),
      el("dt", {}, "Probability"), el("dd", {}, "How probably the name is right. Shown only if this network was calibrated. It holds for people and cameras like those of the calibration.")),
    el("h2", {}, "What makes it better"),
    el("ul", {},
      el("li", {}, "People in full view from head to feet, at least 48 pixels high, for some seconds."),
      el("li", {}, "Several walks of each person, in different clothes and from different sides. Each name that you correct adds one."),
      el("li", {}, "The same kind of view in the gallery and in the video.")),
    el("h2", {}, "Before you use it"),
    el("ul", {},
      el("li", {}, "Gait is biometric data. In many countries recognising people by it needs their consent or another legal ground (in the European Union: article 9 of the GDPR)."),
      el("li", {}, "Do not use it to follow people who have not agreed. Write down what somebody agreed to when you enrol them, and forget them when they ask."),
      el("li", {}, "Nobody should bear the consequences of a name that no human has checked."),
      el("li", {}, "It works badly for children and for people with crutches, a prosthesis or a wheelchair, because they are missing from the training data.")),
    el("h2", {}, "Where your data is"),
    el("p", {}, "On this machine only. Uploads, results and the gallery are in the output folder, and nothing is sent anywhere. Silhouettes and embeddings identify people too, so keep the folder as safe as the videos. If you forget somebody, here or on the command line, what was derived from them is deleted; on this page you see beforehand what stays. Blurring hides people in the painted videos, but not those whom the detector missed."));
}
